"""Facial emotions by Ensembles with Shared Representations, without ROS.

>>> from esr_core import EmotionPipeline
>>> faces = EmotionPipeline().step(rgb, stamp_s=0.0)   # rgb: (h, w, 3) uint8
>>> faces[0].label, faces[0].valence

To train, measure and export there is ``FacialEmotionLearner``, which needs PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from esr_core.emotions import LABELS
from esr_core.errors import (
    INSTALL_TRAINING,
    AnotherTraining,
    DataError,
    DetectorError,
    DownloadError,
    EsrError,
    ImageError,
    ModelError,
    OptionError,
    TrainingError,
    VideoError,
)
from esr_core.inference.onnx_model import Model, Prediction, load_model
from esr_core.media.image import Image
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.stream_state import StreamState as Stream
from esr_core.pipeline import EmotionPipeline, PipelineOptions, View

if TYPE_CHECKING:
    from esr_core.learner import FacialEmotionLearner as FacialEmotionLearner

# Without the learner: `import *` should do on a robot that has no PyTorch.
__all__ = [
    "LABELS",
    "AnotherTraining",
    "DataError",
    "DetectorError",
    "DownloadError",
    "EmotionPipeline",
    "EsrError",
    "FaceEmotion",
    "Image",
    "ImageError",
    "Model",
    "ModelError",
    "OptionError",
    "PipelineOptions",
    "Prediction",
    "Stream",
    "TrainingError",
    "VideoError",
    "View",
    "load_model",
]


def __getattr__(name: str) -> Any:
    """Import the learner when somebody asks for it: the node runs without PyTorch."""
    if name == "FacialEmotionLearner":
        try:
            from esr_core.learner import FacialEmotionLearner
        except ModuleNotFoundError as error:
            hint = f"{name} needs {error.name}; {INSTALL_TRAINING}"
            raise ModuleNotFoundError(hint, name=error.name) from error
        return FacialEmotionLearner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
