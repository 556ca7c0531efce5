"""Facial emotions by Ensembles with Shared Representations, without ROS.

>>> from esr_core import EmotionPipeline
>>> faces = EmotionPipeline().step(rgb, stamp_s=0.0)   # rgb: (h, w, 3) uint8
>>> faces[0].label, faces[0].valence
"""

from esr_core.emotions import LABELS
from esr_core.errors import (
    AnotherTraining,
    DataError,
    DetectorError,
    DownloadError,
    EsrError,
    ImageError,
    ModelError,
    OptionError,
    TrainingError,
)
from esr_core.image import Image
from esr_core.infer import Model, Prediction, load_model
from esr_core.pipeline import EmotionPipeline, FaceEmotion, PipelineOptions

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
    "TrainingError",
    "load_model",
]
