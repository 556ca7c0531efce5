"""The newest image of a camera, of a stream, or of a video that is played as if it were live."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Iterator, NamedTuple, Optional, Tuple, Type, Union

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.errors import VideoError
from esr_core.media.video import VideoReader, open_capture


class Snapshot(NamedTuple):
    """One image of a camera."""

    number: int  # of all that the camera gave, from 0; those between were not taken
    stamp_s: float  # when it was grabbed, from the first one on; of a video, its own
    rgb: NDArray[np.uint8]  # (h, w, 3)


class Camera:
    """Gives the newest image whenever it is asked, and forgets those that nobody took.

    A thread reads as fast as images come; use it in a ``with`` statement.
    """

    def __init__(self, device: str) -> None:
        """Open a camera by its number or path, a stream by its URL, or a video file.

        Raises:
            VideoError: there is no such thing, or it cannot be read.
        """
        self.device = device
        #: Whether images go on until somebody ends it, as those of a file do not.
        self.live = not Path(device).is_file()
        self._source: Union[cv2.VideoCapture, VideoReader]
        self._source = _open(device) if self.live else VideoReader(Path(device))
        self._changed = Condition()
        self._newest: Optional[Snapshot] = None
        self._ended = False
        self._error: Optional[VideoError] = None
        self._thread = Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(2)  # a stream that hangs is left alone

    def __iter__(self) -> Iterator[Snapshot]:
        """Wait for an image newer than the last one, until the video or the camera ends.

        Raises:
            VideoError: a frame of a video cannot be decoded.
        """
        last = -1
        while True:
            with self._changed:
                while not self._ended and (self._newest is None or self._newest.number <= last):
                    self._changed.wait()
                newest = self._newest
            if newest is None or newest.number <= last:
                break
            last = newest.number
            yield newest
        if self._error:
            raise self._error

    def _read(self) -> None:
        """Read until the end, in a thread of its own."""
        try:
            for number, (stamp_s, rgb) in enumerate(self._images()):
                with self._changed:
                    if self._ended:
                        return
                    self._newest = Snapshot(number, stamp_s, rgb)
                    self._changed.notify_all()
        except VideoError as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _images(self) -> Iterator[Tuple[float, NDArray[np.uint8]]]:
        if isinstance(self._source, VideoReader):
            return self._played(self._source)
        return _grabbed(self._source)

    def _played(self, film: VideoReader) -> Iterator[Tuple[float, NDArray[np.uint8]]]:
        start_s = time.monotonic()
        for shot in film:
            with self._changed:
                wait_s = start_s + shot.stamp_s - time.monotonic()
                self._changed.wait_for(lambda: self._ended, max(wait_s, 0))
            yield shot.stamp_s, film.rgb()


def _grabbed(capture: cv2.VideoCapture) -> Iterator[Tuple[float, NDArray[np.uint8]]]:
    first_s = None
    while capture.grab():
        now_s = time.monotonic()
        first_s = now_s if first_s is None else first_s
        there, bgr = capture.retrieve()
        if there:
            yield now_s - first_s, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[misc]


def _open(device: str) -> cv2.VideoCapture:
    numbered = device.isdecimal()
    path = Path(f"/dev/video{device}" if numbered else device)
    local = "://" not in device
    if local and not path.exists() and (sys.platform == "linux" or not numbered):
        there = sorted(str(each) for each in Path("/dev").glob("video*"))
        raise VideoError(
            f"{device}: there is no {path}; cameras here: {', '.join(there) or 'none'} (a number, "
            "a path, a URL or a video file is wanted)"
        )
    capture = open_capture(int(device) if numbered else device)
    if not capture.isOpened():
        why = "no camera, or in use by another program" if local else "no video comes from there"
        raise VideoError(f"{device}: cannot be opened; {why}")
    return capture
