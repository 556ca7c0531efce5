"""State of one camera between two images."""

from __future__ import annotations

from typing import List

from esr_core.perception.events import Event, EventDetector
from esr_core.perception.optical_flow import OpticalFlowTracker
from esr_core.perception.smoothing import EmaFilter
from esr_core.perception.tracking import Tracker


class StreamState:
    """Tracks, smoothed predictions and last emotions of one camera's faces."""

    def __init__(self) -> None:
        self.flow_tracker = OpticalFlowTracker()
        self.tracker = Tracker()
        self.ema_filter = EmaFilter()
        self.event_detector = EventDetector()

    def reset(self) -> List[Event]:
        """Remove all faces and return their events; their ids are not used again."""
        self.flow_tracker = OpticalFlowTracker()
        self.tracker.reset()
        self.ema_filter = EmaFilter()
        return self.event_detector.update([], [])
