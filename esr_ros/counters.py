"""What the node counts of each camera, and how it tells on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, Tuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

#: So many in a row are no accident.
UNDECODABLE_IS_ERROR = 3


@dataclass
class Counters:
    """Totals since activation; the executor and the worker both count."""

    received: int = 0  # images that reached the node
    answered: int = 0  # images for which a message was published
    stale: int = 0  # images displaced by a newer one before their turn
    missed: int = 0  # images that were sent and never reached the node: lost, or overwritten
    undecodable: int = 0
    undecodable_in_a_row: int = 0
    faces: int = 0
    latencies_s: Deque[float] = field(default_factory=lambda: deque(maxlen=300))
    _rated: Tuple[float, int, int] = field(default_factory=lambda: (time.monotonic(), 0, 0))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **amounts: int) -> None:
        """Add to totals by name."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def add_latency(self, seconds: float) -> None:
        with self._lock:
            self.latencies_s.append(seconds)

    def latency_s(self) -> Tuple[float, float]:
        """Median and 99th percentile of the last 300 answers, from image stamp to message."""
        with self._lock:
            values = list(self.latencies_s)
        if not values:
            return float("nan"), float("nan")
        p50, p99 = np.percentile(values, [50, 99])
        return float(p50), float(p99)

    def rates_hz(self) -> Dict[str, float]:
        """Images in and answers out per second since this was asked before."""
        with self._lock:
            now_s = time.monotonic()
            before_s, received, answered = self._rated
            self._rated = now_s, self.received, self.answered
            elapsed_s = max(now_s - before_s, 1e-3)
            return {
                "input hz": (self.received - received) / elapsed_s,
                "output hz": (self.answered - answered) / elapsed_s,
            }

    def values(self) -> Dict[str, int]:
        """The totals by name."""
        names = ("received", "answered", "stale", "missed", "undecodable", "faces")
        with self._lock:
            return {name: getattr(self, name) for name in names}


def status(
    name: str, hardware_id: str, counters: Counters, state: str, details: Dict[str, str]
) -> DiagnosticStatus:
    """Return how it goes with one camera, for /diagnostics.

    state: ``hearing`` images, ``silent``, or ``disabled``.
    """
    values = counters.values()
    level, message = DiagnosticStatus.OK, "answering"
    if state == "disabled":
        message = "disabled: images are ignored"
    elif values["received"] == 0:
        level, message = DiagnosticStatus.WARN, "no images yet"
    elif state == "silent":
        level, message = DiagnosticStatus.WARN, "no images any more"
    elif counters.undecodable_in_a_row >= UNDECODABLE_IS_ERROR:
        level, message = DiagnosticStatus.ERROR, "images cannot be decoded"
    p50, p99 = counters.latency_s()
    pairs = {"topic": hardware_id, **{key: str(value) for key, value in values.items()}}
    pairs.update({"latency p50 ms": f"{p50 * 1e3:.1f}", "latency p99 ms": f"{p99 * 1e3:.1f}"})
    for key, rate_hz in counters.rates_hz().items():
        pairs[key] = f"{rate_hz:.1f}"
    pairs.update(details)
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in pairs.items()],
    )
