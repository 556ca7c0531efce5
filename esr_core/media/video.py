"""Video files: a reader with the stamps of the file, and a writer."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Iterator, NamedTuple, Optional, Tuple, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.atomic_write import replacing
from esr_core.errors import VideoError
from esr_core.file_names import as_utf8, native_path

#: Used if a file has no frame rate.
_USUAL_RATE_HZ = 25.0
#: FFmpeg decodes text files as pictures of a terminal.
_TEXT = cv2.VideoWriter.fourcc(*"ansi")
_MP4 = cv2.VideoWriter.fourcc(*"mp4v")


class VideoFrame(NamedTuple):
    """The position of a frame in a video."""

    number: int  # from 0
    stamp_s: float  # from the start of the video; does not decrease


class VideoReader:
    """Reads a video file from its start to its end."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            VideoError: the file does not exist, or is not a video.
        """
        self.path = path
        try:
            with path.open("rb") as stream:
                start = stream.read(8)
        except OSError as error:
            raise VideoError(f"{path}: {error.strerror}") from error
        self._capture = open_capture(path)
        if not self._capture.isOpened() or int(self._capture.get(cv2.CAP_PROP_FOURCC)) == _TEXT:
            fault = "not a video that can be read, such as MP4, AVI or MKV"
            if start[4:] == b"ftyp":
                fault = "an MP4 that is cut off or damaged; its list of frames is missing"
            raise VideoError(f"{path}: {fault}")
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz = rate_hz if 0 < rate_hz <= 1000 else _USUAL_RATE_HZ
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        #: Number of frames by the file's header, which may be an estimate; None: unknown.
        self.count: Optional[int] = int(count) if 0 < count < 1e9 else None
        self._read = 0
        self._stamp_s = 0.0
        self._has_stamps = False
        self._ended = False

    def __iter__(self) -> Iterator[VideoFrame]:
        """Advance to the next frame, until the last readable one; :meth:`rgb` decodes it."""
        while self._capture.grab():
            position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if position_s > self._stamp_s:
                self._stamp_s, self._has_stamps = position_s, True
            elif not self._has_stamps:
                self._stamp_s = self._read / self.rate_hz
            self._read += 1
            yield VideoFrame(self._read - 1, self._stamp_s)
        self._ended = True

    def rgb(self) -> NDArray[np.uint8]:
        """Return the current frame, (h, w, 3) uint8.

        Raises:
            VideoError: it cannot be decoded.
        """
        decoded, bgr = self._capture.retrieve()
        if not decoded:
            raise VideoError(f"{self.path}: frame {self._read - 1} cannot be decoded")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def missing(self) -> str:
        """Return a message if the video ended before its length, else ""."""
        # The estimates of some files are slightly too high.
        if not self._ended or self.count is None or self._read >= 0.98 * self.count - 1:
            return ""
        return (
            f"{self.path}: ends at {self._stamp_s:.2f} s, after {self._read} of {self.count} "
            "frames; the rest is missing or damaged"
        )


class VideoWriter:
    """Writes the frames of an mp4; made by :func:`open_writer`."""

    def __init__(self, partial: Path, rate_hz: float) -> None:
        self.count = 0
        self._partial = partial
        self._rate_hz = rate_hz
        self._size: Tuple[int, int] = (0, 0)
        self._writer = cv2.VideoWriter()

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Add a frame (h, w, 3) uint8; the first one sets the size of all.

        The codec drops the last column or row of an odd width or height.
        """
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if not self.count:
            self._size = (rgb.shape[1], rgb.shape[0])
            with native_path(self._partial) as name:
                opened = self._writer.open(name, _MP4, self._rate_hz, self._size)
            if not opened:
                raise VideoError(
                    f"no mp4 of {self._size[0]}x{self._size[1]} px at {self._rate_hz:g} Hz can be "
                    "written here"
                )
        if bgr.shape[1::-1] != self._size:  # OpenCV's writer drops such frames silently
            bgr = cv2.resize(bgr, self._size)
        self._writer.write(bgr)
        self.count += 1

    def close(self) -> None:
        """Finish the file."""
        self._writer.release()


@contextmanager
def open_writer(path: Path, rate_hz: float) -> Iterator[VideoWriter]:
    """Write an mp4, which appears when it is complete, and not at all after an error.

    Raises:
        OSError: the file cannot be created.
        VideoError: the disk is full, or the codec does not support the frames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, ".part.mp4") as partial:
        with closing(VideoWriter(partial, rate_hz)) as writer:
            yield writer
        written = open_capture(partial)  # OpenCV's writer reports no errors
        if not written.isOpened() or written.get(cv2.CAP_PROP_FRAME_COUNT) != writer.count:
            raise VideoError(f"{path}: could not be written to its end; is the disk full?")


def open_capture(source: Union[Path, str, int]) -> cv2.VideoCapture:
    """Return OpenCV's reader of a file, a URL or a numbered camera, without its log on stderr.

    The environment variables OPENCV_LOG_LEVEL and OPENCV_FFMPEG_LOGLEVEL enable the log.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET of libavutil/log.h
    logging = getattr(cv2.utils, "logging", None)  # missing in old versions
    if logging and "OPENCV_LOG_LEVEL" not in os.environ:
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    if isinstance(source, Path):
        # An absolute path, because FFmpeg parses the part before a colon as a protocol.
        with native_path(source) as name:
            return cv2.VideoCapture(name)
    return cv2.VideoCapture(as_utf8(source) if isinstance(source, str) else source)
