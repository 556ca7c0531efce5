"""Video files, read and written."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import videos
from numpy.typing import NDArray

from esr_core.errors import VideoError
from esr_core.media.containers import duration_s, unreadable
from esr_core.media.video import VideoReader, open_writer


def test_written_frames_are_read_with_their_stamps(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    frames = videos.moved(rgb, 12)
    with open_writer(tmp_path / "new" / "a.mp4", 12.5) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, i / 12.5)
        assert not (tmp_path / "new" / "a.mp4").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]
    video = VideoReader(tmp_path / "new" / "a.mp4")
    assert (video.rate_hz, video.count) == (12.5, 12)
    for i, frame in enumerate(video):
        assert frame.number == i
        assert frame.stamp_s == pytest.approx(i / 12.5)
        assert np.abs(video.rgb().astype(int) - frames[i]).mean() < 8
    assert i == 11
    assert video.missing() == ""


@pytest.mark.parametrize(
    ("name", "code"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v")]
)
def test_stamps_increase_in_every_file_format(
    tmp_path: Path, rgb: NDArray[np.uint8], name: str, code: str
) -> None:
    stamps = [
        s.stamp_s for s in VideoReader(videos.write(tmp_path / name, videos.moved(rgb, 20), code))
    ]
    np.testing.assert_allclose(stamps, np.arange(20) / videos.RATE_HZ, atol=1e-3)


def test_name_with_a_colon_is_no_protocol(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    videos.write(tmp_path / "a.avi", [rgb] * 2, "MJPG").rename(tmp_path / "12:30.avi")
    assert len(list(VideoReader(tmp_path / "12:30.avi"))) == 2


def test_frames_of_other_and_odd_sizes_are_written(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    with open_writer(tmp_path / "a.mp4", 30) as writer:
        for i, frame in enumerate((rgb[:211, :301], rgb[:100, :100], rgb)):
            writer.write(frame, i / 30)
    video = VideoReader(tmp_path / "a.mp4")
    assert [video.rgb().shape for _ in video] == [(210, 300, 3)] * 3


def test_after_an_error_nothing_is_written(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, SIM117
        with open_writer(tmp_path / "a.mp4", 30) as writer:
            writer.write(rgb, 0.0)
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


def test_rate_that_the_format_does_not_support(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    with pytest.raises(VideoError, match="no mp4 of 512x512 px at 90000 Hz"):  # noqa: SIM117
        with open_writer(tmp_path / "a.mp4", 90000) as writer:
            writer.write(rgb, 0.0)
    assert list(tmp_path.iterdir()) == []


def test_missing_end_is_reported(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    video = VideoReader(
        videos.cut(videos.write(tmp_path / "a.avi", videos.moved(rgb, 60), "MJPG"), 0.5)
    )
    assert video.missing() == ""  # unknown before the end
    read = [video.rgb() for _ in video]
    assert 20 < len(read) < 40
    stamp_s = (len(read) - 1) / videos.RATE_HZ
    assert (
        f"a.avi: its last frame is at {stamp_s:.2f} s of 2.00 s; the rest is missing"
        in video.missing()
    )


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.mp4", None, "No such file"),
        ("a.mp4", b"", "not a video that can be read"),
        ("a.mp4", b"some words\n" * 99, "not a video that can be read"),
        ("a.txt", b"some words\n" * 99, "not a video that can be read"),  # FFmpeg would render it
        (".", None, "Is a directory"),
    ],
)
def test_file_that_is_no_video_is_refused(
    tmp_path: Path, name: str, content: bytes | None, text: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=text):
        VideoReader(tmp_path / name)


def test_truncated_mp4_is_refused(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    path = videos.cut(videos.write(tmp_path / "a.mp4", [rgb] * 9), 0.5)
    with pytest.raises(VideoError, match=r"a\.mp4: an MP4 that is cut off or damaged"):
        VideoReader(path)


def test_uneven_frames_keep_their_times(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    stamps_s = [0.0, 0.033, 0.066, 0.5, 0.533, 2.0, 2.0, 5.0, 6.8]
    with open_writer(tmp_path / "a.mp4", 30) as writer:
        for stamp_s in stamps_s:
            writer.write(rgb, 60 + stamp_s)
    video = VideoReader(tmp_path / "a.mp4")
    read = [frame.stamp_s for frame in video if video.rgb().size]
    np.testing.assert_allclose(read, stamps_s, atol=1e-3)
    assert video.missing() == ""
    assert duration_s(tmp_path / "a.mp4") == pytest.approx(6.8 + 1 / 30, abs=2e-3)


def test_gap_that_no_mp4_can_express_is_the_longest_one(
    tmp_path: Path, rgb: NDArray[np.uint8]
) -> None:
    """A duration has 31 bits, in ticks of the file."""
    with open_writer(tmp_path / "a.mp4", 30) as writer:
        for stamp_s in (0.0, 1e9, 1e9 + 0.5):
            writer.write(rgb, stamp_s)
    first, second, third = (frame.stamp_s for frame in VideoReader(tmp_path / "a.mp4"))
    assert (first, third - second) == (0.0, pytest.approx(0.5, abs=2e-3))
    assert 10_000 < second < 1e9


@pytest.mark.parametrize(("name", "code"), [("a.mkv", "mp4v"), ("a.webm", "VP80")])
@pytest.mark.parametrize("rate_hz", [1000, 20])
def test_whole_video_with_an_estimated_number_of_frames(
    tmp_path: Path, rgb: NDArray[np.uint8], name: str, code: str, rate_hz: int
) -> None:
    # OpenCV computes the number from the duration and a rate that is a guess.
    video = VideoReader(videos.write(tmp_path / name, [rgb] * 60, code))
    video.rate_hz, video.count = rate_hz, 2 * rate_hz
    assert len(list(video)) == 60
    assert video.missing() == ""
    video = VideoReader(videos.cut(tmp_path / name, 0.5))
    video.rate_hz, video.count = rate_hz, 2 * rate_hz
    stamp_s = [frame.stamp_s for frame in video][-1]
    assert video.missing().endswith(
        f"{name}: its last frame is at {stamp_s:.2f} s of 2.00 s; the rest is missing or damaged"
    )


def test_sound_that_is_longer_than_the_pictures(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    path = videos.write(tmp_path / "a.mkv", [rgb] * 60)
    content = bytearray(path.read_bytes())
    at = content.index(b"\x44\x89\x88") + 3  # the duration of the file, in ms
    assert struct.unpack_from(">d", content, at) == (2000.0,)
    struct.pack_into(">d", content, at, 9000.0)
    path.write_bytes(content)
    video = VideoReader(path)
    assert len(list(video)) == 60
    assert video.missing() == f"{path}: its last frame is at 1.97 s of 9.00 s"
    assert not video.lacks_frames()


def test_frames_that_an_edit_list_leaves_out_are_not_missing(
    tmp_path: Path, rgb: NDArray[np.uint8]
) -> None:
    path = videos.write(tmp_path / "a.mp4", [rgb] * 60)
    content = bytearray(path.read_bytes())
    struct.pack_into(">Ii", content, content.index(b"elst") + 12, 1000, 15360)
    struct.pack_into(">I", content, content.index(b"tkhd") + 24, 1000)
    path.write_bytes(content)
    video = VideoReader(path)
    assert len(list(video)) < 60
    assert video.missing() == ""


@pytest.mark.parametrize(
    ("name", "code", "old", "new", "text"),
    [
        ("a.mkv", "mp4v", b"V_MPEG4/ISO/ASP", b"V_NOSUCH/ISO/XX", "codec, V_NOSUCH/ISO/XX, is not"),
        ("a.mkv", "mp4v", b"V_MPEG4/ISO/ASP", b"A_MPEG4/ISO/ASP", "has sound only"),
        ("a.avi", "MJPG", b"MJPG", b"xyz9", "codec, xyz9, is not"),
        ("a.avi", "MJPG", b"vidsMJPG", b"auds\0\0\0\0", "has sound only"),
        ("a.mp4", "mp4v", b"\0\0\0\0vide", b"\0\0\0\0soun", "has sound only"),
    ],
)
def test_codec_and_sound_are_named(
    tmp_path: Path, rgb: NDArray[np.uint8], name: str, code: str, old: bytes, new: bytes, text: str
) -> None:
    path = videos.write(tmp_path / name, [rgb] * 3, code)
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(VideoError, match=text):
        VideoReader(path)


def test_codec_of_an_mp4(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    path = videos.write(tmp_path / "a.mp4", [rgb] * 3)
    assert "its codec, mp4v, is not" in unreadable(path)


def test_recording_with_sound_only(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    with pytest.raises(VideoError, match=r"a\.wav: has sound only, no pictures"):
        VideoReader(tmp_path / "a.wav")


@pytest.mark.parametrize("size", [2**63 - 1, 2**64 - 1])
def test_box_that_is_larger_than_every_file(tmp_path: Path, size: int) -> None:
    box = struct.pack(">I4sQ", 1, b"mdat", size)
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x10ftypisom\0\0\2\0" + box)
    with pytest.raises(VideoError, match=r"a\.mp4: an MP4 that is cut off or damaged"):
        VideoReader(tmp_path / "a.mp4")


def test_list_of_frames_that_is_cut_off(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    path = videos.write(tmp_path / "a.mp4", [rgb] * 9)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") + 100])
    with pytest.raises(VideoError, match=r"a\.mp4: an MP4 that is cut off or damaged"):
        VideoReader(path)
