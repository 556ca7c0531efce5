"""Video files, read and written."""

from __future__ import annotations

from pathlib import Path

import films
import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core.errors import VideoError
from esr_core.media.video import VideoReader, recording


def test_what_is_recorded_is_read_with_its_time(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    frames = films.moved(rgb, 12)
    with recording(tmp_path / "new" / "a.mp4", 12.5) as recorder:
        for frame in frames:
            recorder.write(frame)
        assert not (tmp_path / "new" / "a.mp4").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]
    film = VideoReader(tmp_path / "new" / "a.mp4")
    assert (film.rate_hz, film.count) == (12.5, 12)
    for i, shot in enumerate(film):
        assert shot.number == i
        assert shot.stamp_s == pytest.approx(i / 12.5)
        assert np.abs(film.rgb().astype(int) - frames[i]).mean() < 8
    assert i == 11
    assert film.missing() == ""


@pytest.mark.parametrize(
    ("name", "code"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v")]
)
def test_time_goes_on_in_every_kind_of_file(
    tmp_path: Path, rgb: NDArray[np.uint8], name: str, code: str
) -> None:
    stamps = [
        s.stamp_s for s in VideoReader(films.write(tmp_path / name, films.moved(rgb, 20), code))
    ]
    np.testing.assert_allclose(stamps, np.arange(20) / films.RATE_HZ, atol=1e-3)


def test_name_with_a_colon_is_no_protocol(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    films.write(tmp_path / "a.avi", [rgb] * 2, "MJPG").rename(tmp_path / "12:30.avi")
    assert len(list(VideoReader(tmp_path / "12:30.avi"))) == 2


def test_frames_of_other_and_odd_sizes_are_recorded(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    with recording(tmp_path / "a.mp4", 30) as recorder:
        for frame in (rgb[:211, :301], rgb[:100, :100], rgb):
            recorder.write(frame)
    film = VideoReader(tmp_path / "a.mp4")
    assert [film.rgb().shape for _ in film] == [(210, 300, 3)] * 3


def test_after_an_error_nothing_is_recorded(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, SIM117
        with recording(tmp_path / "a.mp4", 30) as recorder:
            recorder.write(rgb)
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


def test_rate_that_no_file_can_have(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    with pytest.raises(VideoError, match="no mp4 of 512x512 px at 90000 Hz"):  # noqa: SIM117
        with recording(tmp_path / "a.mp4", 90000) as recorder:
            recorder.write(rgb)
    assert list(tmp_path.iterdir()) == []


def test_end_that_is_missing(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    film = VideoReader(
        films.cut(films.write(tmp_path / "a.avi", films.moved(rgb, 60), "MJPG"), 0.5)
    )
    assert film.missing() == ""  # not known yet
    read = [film.rgb() for _ in film]
    assert 20 < len(read) < 40
    stamp_s = (len(read) - 1) / films.RATE_HZ
    assert f"a.avi: ends at {stamp_s:.2f} s, after {len(read)} of 60 frames" in film.missing()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.mp4", None, "No such file"),
        ("a.mp4", b"", "not a video that can be read"),
        ("a.mp4", b"some words\n" * 99, "not a video that can be read"),
        ("a.txt", b"some words\n" * 99, "not a video that can be read"),  # FFmpeg would paint it
        (".", None, "Is a directory"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes | None, text: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(VideoError, match=text):
        VideoReader(tmp_path / name)


def test_mp4_that_breaks_off(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    path = films.cut(films.write(tmp_path / "a.mp4", [rgb] * 9), 0.5)
    with pytest.raises(VideoError, match=r"a\.mp4: an MP4 that is cut off or damaged"):
        VideoReader(path)
