"""Video files, read and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import videos
from numpy.typing import NDArray

from esr_core.errors import VideoError
from esr_core.media.video import VideoReader, open_writer


def test_written_frames_are_read_with_their_stamps(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    frames = videos.moved(rgb, 12)
    with open_writer(tmp_path / "new" / "a.mp4", 12.5) as writer:
        for frame in frames:
            writer.write(frame)
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
        for frame in (rgb[:211, :301], rgb[:100, :100], rgb):
            writer.write(frame)
    video = VideoReader(tmp_path / "a.mp4")
    assert [video.rgb().shape for _ in video] == [(210, 300, 3)] * 3


def test_after_an_error_nothing_is_written(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, SIM117
        with open_writer(tmp_path / "a.mp4", 30) as writer:
            writer.write(rgb)
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


def test_rate_that_the_format_does_not_support(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    with pytest.raises(VideoError, match="no mp4 of 512x512 px at 90000 Hz"):  # noqa: SIM117
        with open_writer(tmp_path / "a.mp4", 90000) as writer:
            writer.write(rgb)
    assert list(tmp_path.iterdir()) == []


def test_missing_end_is_reported(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    video = VideoReader(
        videos.cut(videos.write(tmp_path / "a.avi", videos.moved(rgb, 60), "MJPG"), 0.5)
    )
    assert video.missing() == ""  # unknown before the end
    read = [video.rgb() for _ in video]
    assert 20 < len(read) < 40
    stamp_s = (len(read) - 1) / videos.RATE_HZ
    assert f"a.avi: ends at {stamp_s:.2f} s, after {len(read)} of 60 frames" in video.missing()


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
