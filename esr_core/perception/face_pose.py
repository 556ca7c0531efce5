"""Position and orientation of a face in front of its camera, from five landmarks or its box.

The distance follows from the size of a mean face, so it is wrong by as much as a face differs from
that. The mean face is fitted to the landmarks by OpenCV's ``solvePnP`` (Levenberg and Marquardt).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, radians, sin
from typing import NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.errors import IntrinsicsError
from esr_core.perception.arrays import Boxes, Landmarks, Points, Shape

#: Distortion models of ``sensor_msgs/CameraInfo``, and their numbers of coefficients.
MODELS = {"plumb_bob": (4, 5), "rational_polynomial": (4, 5, 8, 12, 14), "equidistant": (4,)}
#: Mean face, (5, 3) m, in the order of the landmarks: x forward, y to the person's left, z up.
#: The pupils are 63 mm apart, as in the mean of adults (Dodgson, "Variation and extrema of human
#: interpupillary distance", SPIE 5291, 2004). The other points, and the pitch at which a face looks
#: into the camera, are fitted to the refined landmarks of 120 faces of FER+. They are those of the
#: detector: it places a nose less far from the line of the eyes than it is when the head turns.
MEAN_FACE = 1e-3 * np.array(
    [[0, -31.5, 0], [0, 31.5, 0], [19.5, 0, -30.5], [-5.5, -25, -58.5], [-5.5, 25, -58.5]]
)
#: Root of the area of the detector's box, and height of the eyes above its centre, m; medians too.
BOX_M, EYES_ABOVE_M = 0.14, 0.018
#: A fit with larger residuals (root mean square, m), or of a face that is turned away further than
#: this cosine, is replaced by that of the box.
MAX_RESIDUAL_M, MIN_FACING = 0.01, 0.2
#: Largest error of a direction, by its projection.
MAX_ERROR_PX = 1.0
#: Focal length of the image plane in which landmarks are fitted: OpenCV's tolerances are absolute.
_FOCAL = 1000.0
#: Orientation of an upright face that looks into the camera.
_FACING = np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], np.float64)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Intrinsics:
    """Calibration of a camera: :func:`intrinsics` checks it."""

    matrix: Array  # (3, 3), in pixels
    distortion: Array  # (n,), see MODELS; none for a rectified image
    is_fisheye: bool
    size_px: Tuple[int, int]  # width and height of the image that it is for

    def rays(self, points: Points, shape: Shape) -> Array:
        """Return the directions (n, 3) of pixels (n, 2) of an image of ``shape`` (h, w, …).

        x is to the right, y down, z forward, 1; NaN where the model of the distortion has no
        direction, as near the border of a wide-angle image. The image may have been resized.
        """
        scale = np.divide(self.size_px, shape[1::-1])
        pixels = (points * scale).reshape(-1, 1, 2)
        lens = self.matrix, self.distortion
        project = cv2.fisheye.projectPoints if self.is_fisheye else cv2.projectPoints
        if self.is_fisheye:
            plane = cv2.fisheye.undistortPoints(pixels, *lens)
        else:
            accurate = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-6)
            plane = cv2.undistortPointsIter(pixels, *lens, np.eye(3), np.eye(3), accurate)
        rays: Array = cv2.convertPointsToHomogeneous(plane).astype(np.float64)
        # OpenCV returns some point even if its iteration finds none.
        again = project(rays, np.zeros(3), np.zeros(3), *lens)[0]
        rays[~(np.abs(again - pixels) < MAX_ERROR_PX).all(axis=2)] = np.nan
        return rays.reshape(-1, 3)


class FacePose(NamedTuple):
    """Pose of a face in the optical frame of its camera: x to the right, y down, z forward."""

    position: Array  # (3,) m, of the point between the eyes
    rotation: Array  # (3, 3), from the frame of the face: x forward, y to its left, z up

    @property
    def quaternion(self) -> Array:
        """Return the rotation as x, y, z, w."""
        turn = cv2.Rodrigues(self.rotation)[0].ravel()
        angle = float(np.linalg.norm(turn))
        # sin(angle / 2) / angle, also for 0
        return np.append(turn * (np.sinc(angle / 2 / np.pi) / 2), cos(angle / 2))


def intrinsics(
    model: str, matrix: Sequence[float], distortion: Sequence[float], size_px: Tuple[int, int]
) -> Intrinsics:
    """Return the calibration of a camera, given the fields of its ``CameraInfo``.

    matrix: K, or the first three columns of P for a rectified image; row by row, in pixels.

    Raises:
        IntrinsicsError: it is not calibrated, or by a model that is not one of MODELS.
    """
    k, d = np.array(matrix, np.float64).reshape(3, 3), np.array(distortion, np.float64)
    if not np.isfinite([*k.flat, *d]).all() or min(k[0, 0], k[1, 1], *size_px) <= 0:
        raise IntrinsicsError(
            f"the camera is not calibrated: focal lengths {k[0, 0]:g} and {k[1, 1]:g}, "
            f"{size_px[0]}x{size_px[1]} pixels; they must be above 0, and all values finite"
        )
    is_fisheye = model == "equidistant"
    if not d.any() and not is_fisheye:
        d = np.zeros(4)
    elif model not in MODELS or len(d) not in MODELS[model]:
        allowed = "; ".join(f"{name} of {' or '.join(map(str, n))}" for name, n in MODELS.items())
        raise IntrinsicsError(
            f"the distortion model {model!r} of {len(d)} coefficients is unknown; known are "
            f"{allowed}"
        )
    return Intrinsics(k, d, is_fisheye, size_px)


def face_pose(
    camera: Intrinsics, landmarks: Landmarks, box: Boxes, shape: Shape, rotate: int = 0
) -> FacePose:
    """Return the pose of a face, from its box if the landmarks are missing or fit no face.

    The position is NaN where the calibration has no directions.

    landmarks: (5, 2), or NaN. box: (4,). Both in pixels of the image as received, of ``shape``
    (h, w, …). rotate: degrees by which a clockwise turn makes faces upright.
    """
    fitted = _fit(camera.rays(landmarks, shape)) if np.isfinite(landmarks).all() else None
    return fitted or _from_box(camera, box, shape, rotate)


def _fit(rays: Array) -> Optional[FacePose]:
    """Return the pose in which the mean face has landmarks in these directions (5, 3)."""
    towards = _towards(rays.mean(axis=0))
    points = _projected(rays @ towards)
    spread = np.linalg.norm(points - points.mean(axis=0))
    if not 1e-9 < spread < np.inf:
        return None
    # The first guess looks into the camera, with its eyes as they are in the image.
    eyes = points[1] - points[0]
    turn = cv2.Rodrigues(_roll(atan2(eyes[1], eyes[0])) @ _FACING)[0]
    flat = MEAN_FACE[:, 1:]
    distance = np.linalg.norm(flat - flat.mean(axis=0)) / spread
    shift = np.array([0.0, 0.0, distance]).reshape(3, 1)
    lens = np.diag([_FOCAL, _FOCAL, 1.0])
    _, turn, shift = cv2.solvePnP(
        MEAN_FACE, points * _FOCAL, lens, None, turn, shift, True, cv2.SOLVEPNP_ITERATIVE
    )
    rotation, position = cv2.Rodrigues(turn)[0], shift.ravel()
    seen = MEAN_FACE @ rotation.T + position
    residual = np.linalg.norm(_projected(seen) - points) / len(points) ** 0.5 * position[2]
    facing = -rotation[:, 0] @ position / np.linalg.norm(position)
    if not (position[2] > 0 and residual <= MAX_RESIDUAL_M and facing >= MIN_FACING):
        return None
    return FacePose(towards @ position, towards @ rotation)


def _from_box(camera: Intrinsics, box: Boxes, shape: Shape, rotate: int) -> FacePose:
    """Return the pose of a mean face that fills the box and looks into the camera."""
    (x1, y1), (x2, y2) = box.reshape(2, 2)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    sides = np.array([[x, y], [x1, y], [x2, y], [x, y1], [x, y2]], np.float32)
    rays = camera.rays(sides, shape)
    towards = _towards(rays[0])
    _, left, right, top, bottom = _projected(rays @ towards)
    # A quarter turn of the image does not change the area.
    size = np.sqrt(np.linalg.norm(right - left) * np.linalg.norm(bottom - top))
    rotation = towards @ _roll(-radians(rotate)) @ _FACING
    centre = towards[:, 2] * BOX_M / size
    return FacePose(centre + EYES_ABOVE_M * rotation[:, 2], rotation)


def _towards(ray: Array) -> Array:
    """Return the rotation (3, 3) of a camera that looks along a direction (3,), without a roll."""
    z = ray / np.linalg.norm(ray)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _projected(points: Array) -> Array:
    return points[:, :2] / points[:, 2:]


def _roll(angle: float) -> Array:
    """Return the clockwise turn (3, 3) of an image by an angle in radians."""
    c, s = cos(angle), sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
