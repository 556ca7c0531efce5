"""Render a face at known places in front of a camera; run it to print the accuracy of the poses.

The photograph is that of the demo, scikit-image's ``astronaut``, on a curved surface with a nose.
"""

from __future__ import annotations

from math import cos, radians, sin, tan
from typing import Any, Iterator, NamedTuple, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

from esr_core.inference.face_detector import open_detector
from esr_core.perception.detection import find_faces, refined_landmarks
from esr_core.perception.face_pose import Array, FacePose, Intrinsics, face_pose, intrinsics

#: The pupils in the photograph, marked by hand, px; they are PUPILS_MM apart on the surface.
PUPILS = np.array([[203.0, 101.7], [246.3, 103.0]])
PUPILS_MM = 63.0
REACH_M = 0.25  # of the photograph, from the middle of the pupils
DISTANCES_M = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
DIRECTIONS = (-20, -10, 0, 10, 20)  # degrees to the left
HEIGHTS = (-8, 0, 8)  # degrees upwards
YAWS = (-30, -15, 0, 15, 30)  # degrees by which the head is turned to its left


class Camera(NamedTuple):
    """A pinhole camera, and the detection size that goes with it."""

    size_px: tuple[int, int]
    focal_px: float
    detection_size_px: int

    @property
    def k(self) -> list[float]:
        width, height = self.size_px
        return [self.focal_px, 0, width / 2, 0, self.focal_px, height / 2, 0, 0, 1]

    @property
    def intrinsics(self) -> Intrinsics:
        return intrinsics("", self.k, [], self.size_px)


CAMERAS = {
    "640x480": Camera((640, 480), 550.0, 256),
    "1280x720": Camera((1280, 720), 900.0, 640),
}


def place(distance_m: float, left: float, up: float, yaw: float = 0.0) -> FacePose:
    """Return the pose of a face in a direction (degrees), turned by ``yaw`` from the camera."""
    direction = np.array([-tan(radians(left)), -tan(radians(up)), 1.0])
    direction /= np.linalg.norm(direction)
    x = np.cross([0.0, 1.0, 0.0], direction)
    x /= np.linalg.norm(x)
    facing = np.stack([-direction, x, -np.cross(direction, x)], axis=1)
    c, s = cos(radians(yaw)), sin(radians(yaw))
    return FacePose(direction * distance_m, facing @ [[c, -s, 0], [s, c, 0], [0, 0, 1]])


def render(camera: Camera, poses: list[FacePose]) -> NDArray[np.uint8]:
    """Return the image of faces, RGB (h, w, 3) uint8."""
    width, height = camera.size_px
    rgb = np.full((height, width, 3), 110, np.uint8)
    for pose in poses:
        (x, y, z), focal_px = pose.position, camera.focal_px
        column, row = width / 2 + focal_px * x / z, height / 2 + focal_px * y / z
        reach = focal_px * REACH_M / z
        ends = np.clip([row - reach, row + reach, column - reach, column + reach], 0, None)
        part = np.s_[round(ends[0]) : round(ends[1]), round(ends[2]) : round(ends[3])]
        rows, columns = (each[part] for each in np.mgrid[:height, :width])
        rays = [columns - width / 2, rows - height / 2, np.full(rows.shape, focal_px)]
        # Ray and surface in mm of the face's frame; the depth is found by fixed-point iteration.
        origin, step = -pose.position @ pose.rotation * 1e3, np.stack(rays, -1) @ pose.rotation
        depth = np.zeros(rows.shape)
        for _ in range(12):
            t = (depth - origin[0]) / step[..., 0]
            left, up = origin[1] + t * step[..., 1], origin[2] + t * step[..., 2]
            depth = surface_mm(left, up)
        pixels_per_mm = 1.5 * focal_px / np.linalg.norm(pose.position) * 1e-3
        texture, pupils = photograph(PUPILS_MM * pixels_per_mm)
        across, middle = (pupils[1] - pupils[0]) / PUPILS_MM, pupils.mean(axis=0)
        u = (middle[0] + left * across[0] + up * across[1]).astype(np.float32)
        v = (middle[1] + left * across[1] - up * across[0]).astype(np.float32)
        face = cv2.remap(texture, u, v, cv2.INTER_LINEAR)
        h, w = texture.shape[:2]
        rgb[part] = np.where(((u >= 0) & (u < w) & (v >= 0) & (v < h))[..., None], face, rgb[part])
    return rgb


def surface_mm(left: Array, up: Array) -> Array:
    """Return the depth of the head: an ellipsoid with a nose, 0 at the pupils."""
    head = 85 * np.sqrt(np.clip(1 - (left / 80) ** 2 - ((up + 30) / 125) ** 2, 0.2, 1)) - 75.4
    return head + 22 * np.exp(-((left / 9) ** 2) / 2 - ((up + 33) / 11) ** 2 / 2)


def photograph(pupils_px: float) -> tuple[NDArray[np.uint8], Array]:
    """Return the upper part of the photograph with this distance of the pupils, and the pupils."""
    rgb = data.astronaut()[:330, 60:400]
    points = PUPILS - (60, 0)
    scale = pupils_px / np.linalg.norm(points[1] - points[0])
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=way), points * scale


class Error(NamedTuple):
    """Distance of a pose from the true one."""

    distance: float  # share of the true distance
    direction: float  # degrees
    orientation: float  # degrees


def error(found: FacePose, true: FacePose) -> Error:
    lengths = np.linalg.norm(found.position), np.linalg.norm(true.position)
    between = found.position @ true.position / np.prod(lengths)
    turn = (np.trace(found.rotation.T @ true.rotation) - 1) / 2
    return Error(
        float(lengths[0] / lengths[1] - 1),
        float(np.degrees(np.arccos(min(between, 1.0)))),
        float(np.degrees(np.arccos(np.clip(turn, -1, 1)))),
    )


def measure(
    camera: Camera,
    distance_m: float,
    yaws: Sequence[int] = (0,),
    by_box: bool = False,
    directions: Sequence[int] = DIRECTIONS,
    heights: Sequence[int] = HEIGHTS,
) -> Iterator[Error | None]:
    """Yield the error in each direction; None if no face is detected."""
    detector: Any = open_detector()
    for left in directions:
        for up in heights:
            for yaw in yaws:
                true = place(distance_m, left, up, yaw)
                rgb = render(camera, [true])
                faces = find_faces(detector, rgb, camera.detection_size_px)
                if not len(faces) or faces.scores[0] < 0.6:
                    yield None
                    continue
                landmarks = refined_landmarks(detector, rgb, faces.boxes[0], 0)
                landmarks *= np.nan if by_box else 1
                yield error(
                    face_pose(camera.intrinsics, landmarks, faces.boxes[0], rgb.shape), true
                )


def main() -> None:
    print("| Camera | m | faces | distance: mean, largest error | direction | orientation |")
    print("| --- | --- | --- | --- | --- | --- |")
    cases = [(name, camera, (0,), False) for name, camera in CAMERAS.items()]
    cases += [("1280x720, turned", CAMERAS["1280x720"], YAWS, False)]
    cases += [("1280x720, box only", CAMERAS["1280x720"], (0,), True)]
    for name, camera, yaws, by_box in cases:
        for distance_m in DISTANCES_M:
            errors = [*measure(camera, distance_m, yaws, by_box)]
            found = np.array([each for each in errors if each])
            count = f"{len(found)} of {len(errors)}"
            if not len(found):
                print(f"| {name} | {distance_m} | {count} | | | |")
                continue
            mean, largest = found[:, 0].mean(), np.abs(found[:, 0]).max()
            direction, orientation = found[:, 1].max(), np.median(found[:, 2])
            print(
                f"| {name} | {distance_m} | {count} | {mean:+.1%}, {largest:.1%} "
                f"| {direction:.2f}° | {orientation:.0f}° |",
                flush=True,
            )


if __name__ == "__main__":
    main()
