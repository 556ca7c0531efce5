"""Video files: a reader with the stamps of the file, and a writer."""

from __future__ import annotations

import os
import struct
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Tuple, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.atomic_write import replacing
from esr_core.errors import VideoError
from esr_core.file_names import as_utf8, native_path
from esr_core.media import containers
from esr_core.media.image import silence_opencv

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
        """Open a file; VideoError if it does not exist, or is not a video."""
        self.path = path
        try:
            path.open("rb").close()
        except OSError as error:
            raise VideoError(f"{path}: {error.strerror}") from error
        self._capture = open_capture(path)
        fourcc = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        if not self._capture.isOpened() or fourcc == _TEXT:
            raise VideoError(f"{path}: {containers.unreadable(path)}")
        #: Code of four characters, such as ``h264``.
        self.codec = struct.pack("<i", fourcc).decode("ascii", "replace").strip("\0 ")
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate_hz = rate_hz if 0 < rate_hz <= 1000 else _USUAL_RATE_HZ
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        #: Number of frames by the file's header, which may be an estimate; None: unknown.
        self.count: Optional[int] = int(count) if 0 < count < 1e9 else None
        #: Time of the last frame that was read; None: none was.
        self.last_s: Optional[float] = None
        self._read = 0
        self._ended = False

    def __iter__(self) -> Iterator[VideoFrame]:
        """Advance to the next frame, until the last readable one; :meth:`rgb` decodes it."""
        stamp_s, has_stamps = 0.0, False
        while self._capture.grab():
            position_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if position_s > stamp_s:
                stamp_s, has_stamps = position_s, True
            elif not has_stamps:
                stamp_s = self._read / self.rate_hz
            self.last_s = stamp_s
            self._read += 1
            yield VideoFrame(self._read - 1, stamp_s)
        self._ended = True

    def rgb(self) -> NDArray[np.uint8]:
        """Return the current frame, (h, w, 3) uint8; VideoError if it cannot be decoded."""
        decoded, bgr = self._capture.retrieve()
        if not decoded:
            raise VideoError(f"{self.path}: frame {self._read - 1} cannot be decoded")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def missing(self) -> str:
        """Return a message if the video ended before its length, else ""."""
        if not self._ended or self.count is None or self._read >= self.count:
            return ""
        # Many files have no number of frames. OpenCV then computes it from their duration and a
        # rate that is a guess, so the duration is right where the number is not.
        duration_s = min(self.count / self.rate_hz, containers.duration_s(self.path))
        last_s = self.last_s or 0.0
        end_s = last_s + last_s / max(self._read - 1, 1)
        if end_s >= 0.98 * duration_s - min(0.5, 0.1 * duration_s):
            return ""
        rest = "; the rest is missing or damaged" if self.lacks_frames() else ""
        return f"{self.path}: its last frame is at {last_s:.2f} s of {duration_s:.2f} s{rest}"

    def lacks_frames(self) -> bool:
        """Return whether frames are certainly :meth:`missing`, and not only in a longer sound."""
        return containers.lacks_frames(self.path)


class VideoWriter:
    """Writes the frames of an mp4; made by :func:`open_writer`."""

    def __init__(self, partial: Path, rate_hz: float) -> None:
        self.stamps_s: List[float] = []
        self._partial = partial
        self._rate_hz = rate_hz
        self._size: Tuple[int, int] = (0, 0)
        self._writer = cv2.VideoWriter()
        self.close = self._writer.release

    def write(self, rgb: NDArray[np.uint8], stamp_s: float) -> None:
        """Add a frame (h, w, 3) uint8; the first one sets the size of all, and is at 0 s.

        The codec drops the last column or row of an odd width or height.
        """
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if not self.stamps_s:
            self._size = width, height = (rgb.shape[1], rgb.shape[0])
            with native_path(self._partial) as name:
                opened = self._writer.open(name, _MP4, self._rate_hz, self._size)
            if not opened:
                form = f"{width}x{height} px at {self._rate_hz:g} Hz"
                raise VideoError(f"no mp4 of {form} can be written here")
        if bgr.shape[1::-1] != self._size:  # OpenCV's writer drops such frames silently
            bgr = cv2.resize(bgr, self._size)
        self._writer.write(bgr)
        self.stamps_s.append(stamp_s)


@contextmanager
def open_writer(path: Path, rate_hz: float) -> Iterator[VideoWriter]:
    """Write an mp4, which appears when it is complete, and not at all after an error.

    rate_hz: the rate that the file states; frames have their own times, uneven ones too. Raises
    OSError if the file cannot be created, and VideoError for a full disk or an unsuitable codec.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, ".part.mp4") as partial:
        with closing(VideoWriter(partial, rate_hz)) as writer:
            yield writer
        # OpenCV's writer reports no errors.
        if not containers.set_stamps(partial, writer.stamps_s, 1 / rate_hz):
            raise VideoError(f"{path}: could not be written to its end; is the disk full?")


def open_capture(source: Union[Path, str, int]) -> cv2.VideoCapture:
    """Return OpenCV's reader of a file, a URL or a numbered camera, without its log on stderr.

    The environment variables OPENCV_LOG_LEVEL and OPENCV_FFMPEG_LOGLEVEL enable the log.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET of libavutil/log.h
    silence_opencv()
    if isinstance(source, Path):
        # An absolute path, because FFmpeg parses the part before a colon as a protocol.
        with native_path(source) as name:
            return cv2.VideoCapture(name)
    return cv2.VideoCapture(as_utf8(source) if isinstance(source, str) else source)
