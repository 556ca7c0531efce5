"""From the pipeline's results to messages."""

from __future__ import annotations

from typing import List, Tuple

from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from esr_core.pipeline import FaceEmotion
from esr_ros.msg import Emotion, EmotionArray


def emotion_array(header: Header, faces: List[FaceEmotion], shape: Tuple[int, ...]) -> EmotionArray:
    """Return one message for one image of ``shape`` (h, w, …), with the image's own header."""
    return EmotionArray(header=header, emotions=[_emotion(face, shape) for face in faces])


def _emotion(face: FaceEmotion, shape: Tuple[int, ...]) -> Emotion:
    return Emotion(
        face_id=face.face_id,
        roi=_region(face, shape),
        detection_score=face.score,
        emotion=face.emotion,
        label=face.label,
        confidence=face.confidence,
        probabilities=face.probabilities,
        valence=face.valence,
        arousal=face.arousal,
        agreement=face.agreement,
    )


def _region(face: FaceEmotion, shape: Tuple[int, ...]) -> RegionOfInterest:
    """The face's box in whole pixels, cut to the image."""
    height, width = shape[:2]
    x1, y1, x2, y2 = (round(float(v)) for v in face.box)
    left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return RegionOfInterest(
        x_offset=left,
        y_offset=top,
        width=max(min(x2, width) - left, 1),
        height=max(min(y2, height) - top, 1),
        do_rectify=False,
    )
