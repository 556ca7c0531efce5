"""Facial emotion recognition by Ensembles with Shared Representations, without ROS.

>>> from esr_core import EmotionPipeline
>>> faces = EmotionPipeline().step(rgb, stamp_s=0.0)   # rgb: (h, w, 3) uint8
>>> faces[0].label, faces[0].valence

``FacialEmotionLearner`` trains, evaluates and exports networks; it needs PyTorch.
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

# Without the learner, so that `import *` works without PyTorch.
__all__ = ["LABELS", "EmotionPipeline", "FaceEmotion", "Image", "PipelineOptions", "Stream", "View"]
__all__ += ["Model", "Prediction", "load_model"]
__all__ += ["AnotherTraining", "DataError", "DetectorError", "DownloadError", "EsrError"]
__all__ += ["ImageError", "ModelError", "OptionError", "TrainingError", "VideoError"]


def __getattr__(name: str) -> Any:
    """Import the learner on first access: the node runs without PyTorch."""
    if name == "FacialEmotionLearner":
        try:
            from esr_core.learner import FacialEmotionLearner
        except ModuleNotFoundError as error:
            hint = f"{name} needs {error.name}; {INSTALL_TRAINING}"
            raise ModuleNotFoundError(hint, name=error.name) from error
        return FacialEmotionLearner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
