"""Topics of the recorded bags, and an executor for tests of `esr annotate`."""

from __future__ import annotations

from typing import Callable, List, Sequence

from esr_core.pipeline import EmotionPipeline
from esr_ros.annotation.executors import AnalysisRecord, RecordedImage, analyze

TOPIC = "/image_raw/compressed"
#: Two cameras with the same images.
SIDES = ("/left/image_raw/compressed", "/right/image_raw/compressed")


class Stopping:
    """An executor that is interrupted at a batch, and keeps its input."""

    workers = 1

    def __init__(self, pipeline: EmotionPipeline, batches: int = 10**6) -> None:
        self.given: List[Sequence[RecordedImage]] = []
        self._pipeline = EmotionPipeline(pipeline.options, pipeline.model)
        self._batches = batches

    def submit(self, images: Sequence[RecordedImage]) -> Callable[[], List[AnalysisRecord]]:
        if len(self.given) == self._batches:
            raise KeyboardInterrupt
        self.given.append(images)
        records = analyze(self._pipeline, images)
        return lambda: records
