"""Times of the stages that a frame passes through."""

from __future__ import annotations

import time
from typing import Dict


class StageTimer:
    """Measures consecutive stages; ``seconds`` has the last time of each, by name."""

    def __init__(self) -> None:
        self.seconds: Dict[str, float] = {}
        self._last_s = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage; the next one begins."""
        now_s = time.perf_counter()
        self.seconds[stage], self._last_s = now_s - self._last_s, now_s
