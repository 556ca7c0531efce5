"""The errors that the project raises deliberately."""

from __future__ import annotations

#: Installation of PyTorch and the other training dependencies, for error texts.
INSTALL_TRAINING = "run 'make setup-test' in a clone, or \"pip install 'esr_core[train]'\""


class EsrError(Exception):
    """Base class; the text names the fault, its place, and the allowed values."""


class ImageError(EsrError, ValueError):
    """Report an image that cannot be decoded: encoding, size, or no pixels."""


class VideoError(EsrError, ValueError):
    """Report a video or camera that cannot be read, or a video that cannot be written."""


class ModelError(EsrError, ValueError):
    """Report a model file that is missing, damaged, or of another kind."""


class DetectorError(EsrError):
    """Report a face detector that is not installed, or whose model file does not load."""


class DataError(EsrError, ValueError):
    """Report a data set that is missing, damaged, or not in the documented form."""


class OptionError(EsrError, ValueError):
    """Report an option that is out of range, misspelt, or of the wrong type."""


class IntrinsicsError(EsrError, ValueError):
    """Report a camera that is not calibrated, or by an unknown distortion model."""


class DownloadError(EsrError):
    """Report a download that failed, is damaged, or has refused content."""


class TrainingError(EsrError):
    """Report a training that cannot continue."""


class AnotherTraining(OptionError):
    """Report a folder with the state of a training by another config or from other data."""
