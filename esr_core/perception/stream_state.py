"""State of one camera between two images."""

from __future__ import annotations

from math import inf
from typing import List, NamedTuple, Optional

import numpy as np

from esr_core.emotions import LABELS
from esr_core.perception.arrays import Floats, Votes
from esr_core.perception.detection import Detections
from esr_core.perception.events import Event, EventDetector
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.optical_flow import OpticalFlowTracker
from esr_core.perception.smoothing import EmaFilter
from esr_core.perception.stream_clock import StreamClock
from esr_core.perception.tracking import Tracker


class FrameResult(NamedTuple):
    """Faces of one image, and the events since the image before."""

    faces: List[FaceEmotion]  # the largest first
    events: List[Event]
    left_out: int = 0  # faces beyond max_faces


class StreamState:
    """Tracks, smoothed predictions and last emotions of one camera's faces.

    max_pause_s: faces end at a longer pause between the arrivals of two images.
    """

    def __init__(self, max_pause_s: float = inf) -> None:
        self._max_pause_s = max_pause_s
        self.tracker = Tracker()
        self.event_detector = EventDetector()
        self.reset()

    def reset(self) -> List[Event]:
        """Remove all faces and return their events; their ids are not used again."""
        self.clock = StreamClock(self._max_pause_s)
        self.flow_tracker = OpticalFlowTracker()
        self.tracker.reset()
        self.ema_filter = EmaFilter()
        return self.event_detector.update([], [])

    def update(
        self,
        detections: Detections,
        probabilities: Floats,
        affect: Floats,
        votes: Votes,
        stamp_s: Optional[float],
        arrival_s: Optional[float] = None,
        *,
        track_timeout_s: float,
        smoothing_s: float,
        hysteresis: float,
    ) -> FrameResult:
        """Assign ids, smooth the predictions of the next image and detect events.

        probabilities: (n, 8). affect: (n, 2) valence, arousal. votes: (n, branches). stamp_s,
        arrival_s: as in :meth:`~esr_core.perception.stream_clock.StreamClock.update`. The arrays of
        the result are read-only, because the state refers to them.
        """
        time_s, is_restart = self.clock.update(stamp_s, arrival_s)
        if is_restart:
            self.tracker.reset()
            self.ema_filter = EmaFilter()
        ids = self.tracker.update(detections.boxes, time_s, track_timeout_s)
        tracked = [track.face_id for track in self.tracker.tracks]
        self.ema_filter.keep(tracked)
        predicted = np.concatenate([probabilities, affect], axis=1)
        boxes, landmarks, votes = detections.boxes.view(), detections.landmarks.view(), votes.view()
        for array in (boxes, landmarks, votes):
            array.flags.writeable = False
        faces = []
        for i, face_id in enumerate(ids.tolist()):
            smooth = self.ema_filter.update(face_id, predicted[i], time_s, smoothing_s)
            smooth_probabilities = smooth[: len(LABELS)]
            faces.append(
                FaceEmotion(
                    face_id=face_id,
                    box=boxes[i],
                    score=float(detections.scores[i]),
                    landmarks=landmarks[i],
                    probabilities=smooth_probabilities,
                    valence=float(smooth[-2]),
                    arousal=float(smooth[-1]),
                    votes=votes[i],
                    emotion=self.ema_filter.label(face_id, smooth_probabilities, hysteresis),
                )
            )
        return FrameResult(faces, self.event_detector.update(faces, tracked))
