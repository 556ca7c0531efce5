"""What is remembered of the images of one camera, from one to the next."""

from __future__ import annotations

from typing import List

from esr_core.perception.events import Event, EventDetector
from esr_core.perception.optical_flow import OpticalFlowTracker
from esr_core.perception.smoothing import EmaFilter
from esr_core.perception.tracking import Tracker


class StreamState:
    """One camera's faces: where they were, which is which, and what they showed."""

    def __init__(self) -> None:
        self.follower = OpticalFlowTracker()
        self.tracker = Tracker()
        self.smoother = EmaFilter()
        self.chronicle = EventDetector()

    def reset(self) -> List[Event]:
        """Forget all faces, which is what the events say; their ids are not given again."""
        self.follower = OpticalFlowTracker()
        self.tracker.reset()
        self.smoother = EmaFilter()
        return self.chronicle.update([], [])
