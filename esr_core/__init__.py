"""Facial emotion recognition by Ensembles with Shared Representations, without ROS.

>>> from esr_core import EmotionPipeline
>>> faces = EmotionPipeline().step(rgb, stamp_s=0.0)   # rgb: (h, w, 3) uint8
>>> faces[0].label, faces[0].valence

``FacialEmotionLearner`` trains, evaluates and exports networks; it needs PyTorch.
"""

from __future__ import annotations

from importlib import import_module
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

if TYPE_CHECKING:
    from esr_core.inference.onnx_model import Model, Prediction, load_model
    from esr_core.learner import FacialEmotionLearner as FacialEmotionLearner
    from esr_core.media.image import Image
    from esr_core.perception.face_emotion import FaceEmotion
    from esr_core.perception.stream_state import StreamState as Stream
    from esr_core.pipeline import EmotionPipeline, PipelineOptions, View

# Without the learner, so that `import *` works without PyTorch.
__all__ = ["LABELS", "EmotionPipeline", "FaceEmotion", "Image", "PipelineOptions", "Stream", "View"]
__all__ += ["Model", "Prediction", "load_model"]
__all__ += ["AnotherTraining", "DataError", "DetectorError", "DownloadError", "EsrError"]
__all__ += ["ImageError", "ModelError", "OptionError", "TrainingError", "VideoError"]

#: The modules of names that are imported on first access. A launch file, which needs the options
#: alone, runs in the system's Python, where OpenCV and ONNX Runtime may be missing; the node runs
#: without PyTorch.
_MODULES = {
    "FacialEmotionLearner": "learner",
    "Image": "media.image",
    "FaceEmotion": "perception.face_emotion",
    "Stream": "perception.stream_state",
    **dict.fromkeys(("Model", "Prediction", "load_model"), "inference.onnx_model"),
    **dict.fromkeys(("EmotionPipeline", "PipelineOptions", "View"), "pipeline"),
}


def __getattr__(name: str) -> Any:
    """Import a name on first access."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if name != "FacialEmotionLearner":
            raise
        hint = f"{name} needs {error.name}; {INSTALL_TRAINING}"
        raise ModuleNotFoundError(hint, name=error.name) from error
    return getattr(module, "StreamState" if name == "Stream" else name)
