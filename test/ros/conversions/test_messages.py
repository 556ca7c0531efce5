"""The message of one image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from std_msgs.msg import Header

from esr_core import LABELS, FaceEmotion
from esr_ros.conversions.messages import emotion_array
from esr_ros.msg import Emotion


def face(box: list[float]) -> FaceEmotion:
    probabilities = np.array([0.1, 0.6, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05], np.float32)
    return FaceEmotion(
        face_id=3,
        box=np.array(box, np.float32),
        score=0.75,
        landmarks=np.zeros((5, 2), np.float32),
        probabilities=probabilities,
        valence=0.5,
        arousal=-0.25,
        votes=np.array([1, 1, 0, 1]),
        emotion=1,
    )


def test_every_field() -> None:
    header = Header(frame_id="camera")
    message = emotion_array(header, [face([10.4, 20.6, 50.4, 80.6])], (480, 640, 3))
    (emotion,) = message.emotions
    assert message.header is header
    assert (emotion.face_id, emotion.emotion, emotion.label) == (3, Emotion.HAPPY, "happy")
    roi = emotion.roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == (10, 21, 40, 60)
    assert emotion.detection_score == 0.75
    assert emotion.confidence == pytest.approx(0.6)
    assert emotion.probabilities.sum() == pytest.approx(1.0)
    assert (emotion.valence, emotion.arousal, emotion.agreement) == (0.5, -0.25, 0.75)
    assert emotion.branches_evaluated == 4


def test_branches_that_were_not_evaluated_are_not_counted() -> None:
    early = replace(face([0, 0, 10, 10]), votes=np.array([1, 0, -1, -1]))
    (emotion,) = emotion_array(Header(), [early], (48, 64, 3)).emotions
    assert (emotion.branches_evaluated, emotion.agreement) == (2, 0.5)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([-20, -10, 30, 40], (0, 0, 30, 40)),
        ([600, 400, 700, 500], (600, 400, 40, 80)),
        ([-50, 470, -10, 490], (0, 470, 1, 10)),
    ],
)
def test_region_stays_inside_the_image(box: list[float], expected: tuple[int, ...]) -> None:
    roi = emotion_array(Header(), [face(box)], (480, 640, 3)).emotions[0].roi
    assert (roi.x_offset, roi.y_offset, roi.width, roi.height) == expected


def test_constants_are_the_order_of_labels() -> None:
    assert [getattr(Emotion, label.upper()) for label in LABELS] == list(range(8))
