"""Looking at recorded images: what each shows by itself, found by as many workers as there are."""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import ImageError
from esr_core.inference.onnx_model import Model
from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, FrameAnalysis, PipelineOptions, View
from esr_ros.bags import cdr
from esr_ros.conversions.image_decoding import decode

#: The types of image topics.
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


class RecordedImage(NamedTuple):
    """An image as a bag has it."""

    type: str  # IMAGE or COMPRESSED
    data: bytes
    stream: Optional[StreamState] = None  # its camera's; None: nothing before it counts


class Stamp(NamedTuple):
    """The header of an image."""

    sec: int
    nanosec: int
    frame_id: str

    def seconds(self, recorded_ns: int) -> float:
        """Return it in seconds; as with the node, an image without one is of when it came."""
        if self.sec or self.nanosec:
            return float(self.sec + self.nanosec * 1e-9)
        return recorded_ns * 1e-9


class AnalysisRecord(NamedTuple):
    """What an image shows, or why it cannot be looked at."""

    header: Stamp
    shape: Tuple[int, int] = (0, 0)  # height, width in px
    seen: Optional[FrameAnalysis] = None
    error: str = ""
    detected: bool = True  # faces were looked for, not followed from the image before
    rgb: Optional[NDArray[np.uint8]] = None  # if it is to be kept


def pixels(image: RecordedImage) -> NDArray[np.uint8]:
    """Return the pixels of an image that was looked at without an error, RGB (h, w, 3) uint8."""
    return decode(cdr.read(image.data, image.type))


class AnalysisWorker:
    """Looks at images; one thread's own, but for the network, which threads can share.

    It remembers nothing: what counts of the images before is in their streams.
    """

    def __init__(self, options: PipelineOptions, model: Optional[Model] = None) -> None:
        self._pipeline = EmotionPipeline(options, model=model)

    def look(self, images: Sequence[RecordedImage], keep_rgb: bool = False) -> List[AnalysisRecord]:
        """Return what each image shows."""
        return [self._look(each, keep_rgb) for each in images]

    def _look(self, image: RecordedImage, keep_rgb: bool) -> AnalysisRecord:
        try:
            message = cdr.read(image.data, image.type)
        except cdr.MessageError as error:
            return AnalysisRecord(Stamp(0, 0, ""), error=str(error))
        stamp = message.header.stamp
        header = Stamp(int(stamp.sec), int(stamp.nanosec), str(message.header.frame_id))
        try:
            rgb = decode(message)
        except ImageError as error:
            return AnalysisRecord(header, error=str(error))
        stream = image.stream or StreamState()
        seen = self._pipeline.analyze([View(stream, rgb, 0.0)])[0]
        shape = rgb.shape[0], rgb.shape[1]
        kept = rgb if keep_rgb else None
        return AnalysisRecord(
            header, shape, seen, detected=stream.flow_tracker.has_detected, rgb=kept
        )
