"""The newest frame of a camera, of a stream, or of a video played at its own rate."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from threading import Condition, Thread
from typing import Iterator, NamedTuple, Optional, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.errors import VideoError
from esr_core.media.video import VideoReader, open_capture


class Snapshot(NamedTuple):
    """One frame of a camera."""

    number: int  # of all frames that the camera delivered, from 0
    stamp_s: float  # of the grab, from the first frame on; of a video, its own
    rgb: NDArray[np.uint8]  # (h, w, 3)


class Camera:
    """Iterates over the newest frames, and drops those that arrive in between.

    A thread reads at the camera's rate; use it in a ``with`` statement.
    """

    def __init__(self, device: str) -> None:
        """Open a camera by its number or path, a stream by its URL, or a video file.

        Raises VideoError if the device does not exist, or cannot be read.
        """
        self.device = device
        #: False for a video file, whose end is no error.
        self.live = not Path(device).is_file()
        #: The file; None for a camera or a stream.
        self.video = None if self.live else VideoReader(Path(device))
        self._frames = self._play(self.video) if self.video else _grab(_open(device))
        self._changed = Condition()
        self._newest: Optional[Snapshot] = None
        self._ended = False
        self._error: Optional[VideoError] = None
        self._thread = Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        self._thread.join(2)  # does not wait for a stream that hangs

    def __iter__(self) -> Iterator[Snapshot]:
        """Wait for each frame newer than the last one, until the video or the camera ends.

        Raises VideoError if a frame of a video cannot be decoded.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._newest or self._ended)
                newest, self._newest = self._newest, None
            if newest is None:
                break
            yield newest
        if self._error:
            raise self._error

    def _read(self) -> None:
        try:
            for number, (stamp_s, rgb) in enumerate(self._frames):
                with self._changed:
                    if self._ended:
                        return
                    self._newest = Snapshot(number, stamp_s, rgb)
                    self._changed.notify_all()
        except VideoError as error:
            self._error = error
        finally:
            self._end()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _play(self, video: VideoReader) -> Iterator[Tuple[float, NDArray[np.uint8]]]:
        start_s = time.monotonic()
        for frame in video:
            with self._changed:
                wait_s = start_s + frame.stamp_s - time.monotonic()
                self._changed.wait_for(lambda: self._ended, max(wait_s, 0))
            yield frame.stamp_s, video.rgb()


def _grab(capture: cv2.VideoCapture) -> Iterator[Tuple[float, NDArray[np.uint8]]]:
    first_s = None
    while capture.grab():
        now_s = time.monotonic()
        first_s = now_s if first_s is None else first_s
        decoded, bgr = capture.retrieve()
        if decoded:
            yield now_s - first_s, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)  # type: ignore[misc]


def _open(device: str) -> cv2.VideoCapture:
    numbered = device.isdecimal()
    path = Path(f"/dev/video{device}" if numbered else device)
    local = "://" not in device
    if local and not path.exists() and (sys.platform == "linux" or not numbered):
        cameras = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        raise VideoError(
            f"{device}: {path} does not exist; cameras on this machine: {cameras} (must be a "
            "number, a path, a URL or a video file)"
        )
    capture = open_capture(int(device) if numbered else path if local else device)
    if not capture.isOpened():
        fault = "no camera, or in use by another program" if local else "no video at this URL"
        raise VideoError(f"{device}: cannot be opened; {fault}")
    return capture
