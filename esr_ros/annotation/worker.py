"""The analysis of recorded images, which any number of workers share."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import ImageError
from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, FrameAnalysis, View
from esr_ros.bags import cdr
from esr_ros.conversions.image_decoding import decode


class RecordedImage(NamedTuple):
    """An image message of a bag."""

    type: str  # cdr.IMAGE or cdr.COMPRESSED
    data: bytes
    stream: Optional[StreamState] = None  # of its camera; None: independent of other images

    def pixels(self) -> NDArray[np.uint8]:
        """Return the pixels of a valid image, RGB (h, w, 3) uint8."""
        return decode(cdr.read(self.data, self.type))


class ImageHeader(NamedTuple):
    """The header of an image message."""

    sec: int
    nanosec: int
    frame_id: str


class AnalysisRecord(NamedTuple):
    """The analysis of one image, or the reason why it cannot be decoded."""

    header: ImageHeader
    shape: Tuple[int, int] = (0, 0)  # height, width in px
    analysis: Optional[FrameAnalysis] = None
    error: str = ""
    detected: bool = True  # by the detector, not tracked from the image before


def analyze(pipeline: EmotionPipeline, images: Sequence[RecordedImage]) -> List[AnalysisRecord]:
    """Return the analysis of each image; all state is in the streams of the images."""
    return [_analyze(pipeline, each) for each in images]


def _analyze(pipeline: EmotionPipeline, image: RecordedImage) -> AnalysisRecord:
    header = ImageHeader(0, 0, "")
    try:
        message = cdr.read(image.data, image.type)
        stamp = message.header.stamp
        header = ImageHeader(int(stamp.sec), int(stamp.nanosec), str(message.header.frame_id))
        rgb = decode(message)
    except (cdr.MessageError, ImageError) as error:
        return AnalysisRecord(header, error=str(error))
    stream = image.stream or StreamState()
    (analysis,) = pipeline.analyze([View(stream, rgb, 0.0)])
    detected = stream.flow_tracker.has_detected
    return AnalysisRecord(header, (rgb.shape[0], rgb.shape[1]), analysis, detected=detected)
