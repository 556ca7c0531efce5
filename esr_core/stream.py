"""What is remembered of the images of one camera, from one to the next."""

from __future__ import annotations

from typing import List

from esr_core.event import Chronicle, Event
from esr_core.follow import Follower
from esr_core.smooth import Smoother
from esr_core.track import Tracker


class Stream:
    """One camera's faces: where they were, which is which, and what they showed."""

    def __init__(self) -> None:
        self.follower = Follower()
        self.tracker = Tracker()
        self.smoother = Smoother()
        self.chronicle = Chronicle()

    def reset(self) -> List[Event]:
        """Forget all faces, which is what the events say; their ids are not given again."""
        self.follower = Follower()
        self.tracker.reset()
        self.smoother = Smoother()
        return self.chronicle.update([], [])
