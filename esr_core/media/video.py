"""Video files: reading their frames with their own time, and writing frames as one."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.atomic_write import replacing
from esr_core.errors import VideoError

#: Taken where a file does not tell its own.
_USUAL_RATE_HZ = 25.0
#: FFmpeg opens text as pictures of a terminal.
_TEXT = cv2.VideoWriter.fourcc(*"ansi")
_MP4 = cv2.VideoWriter.fourcc(*"mp4v")


class VideoFrame(NamedTuple):
    """Which frame of a video this is."""

    number: int  # from 0
    stamp_s: float  # from the start of the video; never less than that of the frame before


class VideoReader:
    """A video file that is read from its start to its end."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            VideoError: there is no such file, or it is not a video.
        """
        self.path = path
        try:
            with path.open("rb") as stream:
                start = stream.read(8)
        except OSError as error:
            raise VideoError(f"{path}: {error.strerror}") from error
        # Whole, since FFmpeg takes what stands before a colon for a protocol.
        self._capture = open_capture(str(path.absolute()))
        if not self._capture.isOpened() or int(self._capture.get(cv2.CAP_PROP_FOURCC)) == _TEXT:
            what = "not a video that can be read, such as MP4, AVI or MKV"
            if start[4:] == b"ftyp":
                what = "an MP4 that is cut off or damaged; what lists its frames is missing"
            raise VideoError(f"{path}: {what}")
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz = rate_hz if 0 < rate_hz <= 1000 else _USUAL_RATE_HZ
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        #: How many frames the file says that it has, which may be an estimate; None: it does not.
        self.count: Optional[int] = int(count) if 0 < count < 1e9 else None
        self._read = 0
        self._stamp_s = 0.0
        self._tells_time = False
        self._ended = False

    def __iter__(self) -> Iterator[VideoFrame]:
        """Go on to the next frame, until the last that can be read; :meth:`rgb` decodes it."""
        while self._capture.grab():
            shot = VideoFrame(self._read, self._time())
            self._read, self._stamp_s = self._read + 1, shot.stamp_s
            yield shot
        self._ended = True

    def rgb(self) -> NDArray[np.uint8]:
        """Return this frame, (h, w, 3) uint8.

        Raises:
            VideoError: it cannot be decoded.
        """
        there, bgr = self._capture.retrieve()
        if not there:
            raise VideoError(f"{self.path}: frame {self._read - 1} cannot be decoded")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def missing(self) -> str:
        """Return what is to be said of a video that ended before it should; empty: it did not.

        The estimates of some files are a little too high, which is nothing to speak of.
        """
        if not self._ended or self.count is None or self._read >= 0.98 * self.count - 1:
            return ""
        return (
            f"{self.path}: ends at {self._stamp_s:.2f} s, after {self._read} of {self.count} "
            "frames; the rest is missing or damaged"
        )

    def _time(self) -> float:
        told_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if told_s > self._stamp_s:
            self._tells_time = True
            return float(told_s)
        return self._stamp_s if self._tells_time else self._read / self.rate_hz


class VideoWriter:
    """Takes the frames of a video that is written; made by :func:`recording`."""

    def __init__(self, partial: Path, rate_hz: float) -> None:
        self.count = 0
        self._partial = partial
        self._rate_hz = rate_hz
        self._size: Tuple[int, int] = (0, 0)
        self._writer = cv2.VideoWriter()

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Add a frame (h, w, 3) uint8; the first one decides about the size of all.

        Of an odd width or height the last column or row is left out, as the codec wants it.
        """
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if not self.count:
            self._size = (rgb.shape[1], rgb.shape[0])
            if not self._writer.open(str(self._partial), _MP4, self._rate_hz, self._size):
                raise VideoError(
                    f"no mp4 of {self._size[0]}x{self._size[1]} px at {self._rate_hz:g} Hz can be "
                    "written here"
                )
        if bgr.shape[1::-1] != self._size:  # which the writer would pass over in silence
            bgr = cv2.resize(bgr, self._size)
        self._writer.write(bgr)
        self.count += 1

    def close(self) -> bool:
        """Finish the file; return whether it holds all frames, since writing tells of no error."""
        self._writer.release()
        written = open_capture(str(self._partial))
        return written.isOpened() and written.get(cv2.CAP_PROP_FRAME_COUNT) == self.count


@contextmanager
def recording(path: Path, rate_hz: float) -> Iterator[VideoWriter]:
    """Write an mp4 that is there whole when all went well, and else not at all.

    Raises:
        OSError: there cannot be such a file.
        VideoError: the disk is full, or the codec does not take such frames.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, ".part.mp4") as partial:
        recorder = VideoWriter(partial.absolute(), rate_hz)
        try:
            yield recorder
        finally:
            whole = recorder.close()
        if not whole:
            raise VideoError(f"{path}: could not be written to its end; is the disk full?")


def open_capture(source: object) -> cv2.VideoCapture:
    """Return OpenCV's reader of a file, a URL or a camera, without its many words on stderr.

    Who wants them sets OPENCV_LOG_LEVEL or OPENCV_FFMPEG_LOGLEVEL.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET of libavutil/log.h
    logging = getattr(cv2.utils, "logging", None)  # which old versions lack
    if logging and "OPENCV_LOG_LEVEL" not in os.environ:
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    return cv2.VideoCapture(source)  # type: ignore[call-overload,no-any-return]
