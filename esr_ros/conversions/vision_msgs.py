"""Faces as messages of vision_msgs, for tools that do not have this package's messages."""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Header

from esr_core.emotions import LABELS
from esr_core.perception.detection import Detections
from esr_core.perception.face_emotion import FaceEmotion
from esr_ros.conversions.messages import optional, pixel_box

vision = optional("vision_msgs")  # without it there is no `emotion/detections`
#: Returns the faces of an external detector, given the shape of the image.
Found = Callable[[Tuple[int, ...]], Detections]


def faces(array: Any) -> Detections:
    """Return the faces of a Detection2DArray; invalid boxes are left out.

    The score is that of the most probable hypothesis, 1 without one; landmarks are NaN.
    """
    rows = []
    for detection in array.detections:
        position, box = detection.bbox.center.position, detection.bbox
        centre, size = np.array([position.x, position.y]), np.array([box.size_x, box.size_y])
        score = max((result.hypothesis.score for result in detection.results), default=1.0)
        if np.isfinite([*centre, *size, score]).all() and (size >= 1).all():
            corners = np.concatenate([centre - size / 2, centre + size / 2])
            rows.append([*corners.clip(-1e5, 1e5), score])
    return without_landmarks(np.array(rows, np.float32).reshape(-1, 5))


def without_landmarks(table: NDArray[np.float32]) -> Detections:
    """Return faces of x1, y1, x2, y2 in px and score, (n, 5), with landmarks of NaN."""
    unknown = np.full((len(table), 5, 2), np.nan, np.float32)
    return Detections(table[:, :4], table[:, 4].clip(0, 1), unknown)


def vision_info(header: Header, method: str) -> Any:
    """Return the description of the detector; the labels are words and need no database."""
    return vision.VisionInfo(
        header=header,
        method=method,
        database_location="package://esr_ros/msg/Emotion.msg",
        database_version=1,
    )


def detection_array(header: Header, faces: List[FaceEmotion], shape: Tuple[int, ...]) -> Any:
    """Return the Detection2DArray of an image, with a hypothesis for each emotion."""
    detections = []
    for face in faces:
        left, top, right, bottom = pixel_box(face, shape)
        detection = vision.Detection2D(header=header, id=str(face.face_id))
        detection.bbox.size_x, detection.bbox.size_y = float(right - left), float(bottom - top)
        centre = detection.bbox.center.position
        centre.x, centre.y = (left + right) / 2, (top + bottom) / 2
        # The label of the face first, then the other emotions by probability.
        scores = face.probabilities
        for i in sorted(range(len(LABELS)), key=lambda i: (i != face.emotion, -scores[i])):
            hypothesis = vision.ObjectHypothesis(class_id=LABELS[i], score=float(scores[i]))
            detection.results.append(vision.ObjectHypothesisWithPose(hypothesis=hypothesis))
        detections.append(detection)
    return vision.Detection2DArray(header=header, detections=detections)
