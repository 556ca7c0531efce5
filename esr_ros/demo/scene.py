"""The scene of the simulated camera, demo and tests: a moving photograph, without ROS.

The photograph is scikit-image's ``astronaut`` (Eileen Collins, NASA, public domain).
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from typing import Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.errors import EsrError

#: The face in the photograph: centre and width, in pixels.
FACE_X, FACE_Y, FACE_PX = 162.0, 120.0, 89.0
#: Centre and width of each face in pixels of a 640x480 image, by the number of faces.
PLACES = {
    1: ((320, 210, 110),),
    2: ((165, 200, 85), (475, 230, 85)),
    4: ((150, 105, 60), (470, 105, 60), (150, 345, 60), (470, 345, 60)),
}
#: Period of the movement.
PERIOD_S = 2.0
#: Period of the change of focus.
FOCUS_S = 4.0


@dataclass(frozen=True)
class Scene:
    """Faces over time, size and rate of the images."""

    scenes: Tuple[Tuple[float, int], ...]  # duration in s, number of faces: 0, 1, 2 or 4
    rate_hz: float = 30.0
    width_px: int = 640
    height_px: int = 480
    defocus_px: float = 0.0  # largest standard deviation of the blur, once in FOCUS_S

    @property
    def frames(self) -> int:
        """Return the number of frames."""
        return round(sum(seconds for seconds, _ in self.scenes) * self.rate_hz)

    @property
    def seconds(self) -> float:
        """Return the duration."""
        return self.frames / self.rate_hz

    def faces_at(self, frame: int) -> int:
        """Return the number of faces in a frame."""
        end_s = 0.0
        for seconds, faces in self.scenes:
            end_s += seconds
            if frame < round(end_s * self.rate_hz):
                return faces
        return 0

    def places(self, frame: int) -> NDArray[np.float32]:
        """Return the faces of a frame, (n, 3): centre x and y, and width, in pixels."""
        places = np.array(PLACES.get(self.faces_at(frame), ()), np.float32).reshape(-1, 3)
        turn = 2 * math.pi * frame / self.rate_hz / PERIOD_S
        # Every second face moves the opposite way.
        signs = np.where(np.arange(len(places)) % 2, -1.0, 1.0)
        reach = signs * math.sin(turn) * places[:, 2]
        places += reach[:, None] * (0.4, 0.1, 0.15)
        places *= self.width_px / 640, self.height_px / 480, self.height_px / 480
        return places


class SceneError(EsrError):
    """The photograph is not installed."""


def check_photograph() -> None:
    """Raise SceneError unless scikit-image is installed, which the node does not need."""
    if importlib.util.find_spec("skimage") is None:
        raise SceneError(
            "the camera shows a photograph of scikit-image, which is not installed; run 'make "
            "setup' in a clone, or 'pip install scikit-image'"
        )


class SceneRenderer:
    """Renders the frames of a scene deterministically."""

    def __init__(self, scene: Scene) -> None:
        check_photograph()
        from skimage import data

        self.scene = scene
        # The upper left part: head and shoulders, without the flag's hard edge.
        self._photograph = data.astronaut()[:330, 60:400]
        size = (scene.height_px, scene.width_px, 3)
        ramp = np.linspace(90, 130, scene.height_px, dtype=np.float32)[:, None, None]
        self.room = np.broadcast_to(ramp, size).astype(np.uint8)

    def draw(self, frame: int) -> NDArray[np.uint8]:
        """Return a frame, RGB (height, width, 3) uint8."""
        rgb = self.room.copy()
        for number, (x, y, face_px) in enumerate(self.scene.places(frame).tolist()):
            scale = face_px / FACE_PX
            across = -scale if number % 2 else scale  # mirrored, for another face
            matrix = np.array([[across, 0, x - across * FACE_X], [0, scale, y - scale * FACE_Y]])
            size = self.scene.width_px, self.scene.height_px
            border = cv2.BORDER_TRANSPARENT
            cv2.warpAffine(self._photograph, matrix, size, dst=rgb, borderMode=border)
        turn = 2 * math.pi * frame / self.scene.rate_hz / FOCUS_S
        blur_px = self.scene.defocus_px * max(math.sin(turn), 0.0) ** 2  # the second half is sharp
        if blur_px >= 0.5:
            cv2.GaussianBlur(rgb, (0, 0), blur_px, dst=rgb)
        return rgb
