"""Every error that the project raises on purpose, in one place."""

from __future__ import annotations

#: How to come by PyTorch and what else training needs, for an error's text.
INSTALL_TRAINING = "run 'make setup-test' in a clone, or \"pip install '.[train]'\""


class EsrError(Exception):
    """Base of all errors below; its text says what was wrong, where, and what is allowed."""


class ImageError(EsrError, ValueError):
    """An image that cannot be decoded: unknown encoding, sizes that do not fit, no pixels."""


class VideoError(EsrError, ValueError):
    """A video or a camera that cannot be read, or a video that cannot be written."""


class ModelError(EsrError, ValueError):
    """A model file that is missing, damaged, or of another kind than asked for."""


class DetectorError(EsrError):
    """A face detector that is not installed or whose model file does not load."""


class DataError(EsrError, ValueError):
    """A data set that is missing, damaged, or not in the documented form."""


class OptionError(EsrError, ValueError):
    """An option outside of its range, misspelt, or of the wrong type."""


class DownloadError(EsrError):
    """A download that failed, is damaged, or holds what it must not."""


class TrainingError(EsrError):
    """A training that cannot go on."""


class AnotherTraining(OptionError):
    """A folder holds the state of a training by another recipe, or from other data."""
