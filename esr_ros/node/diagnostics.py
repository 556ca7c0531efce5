"""What the node counts of each camera, and how it tells on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, NamedTuple, Tuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from esr_ros.parameters import NodeOptions

#: So many in a row are no accident.
UNDECODABLE_IS_ERROR = 3


class Recent(NamedTuple):
    """How it went lately."""

    input_hz: float
    output_hz: float
    dropped: float  # share of the images sent that were not answered, in [0, 1]


@dataclass
class FrameCounters:
    """Totals since activation; the executor and the worker both count."""

    received: int = 0  # images that reached the node
    answered: int = 0  # images for which a message was published
    stale: int = 0  # images displaced by a newer one before their turn
    missed: int = 0  # images that were sent and never reached the node: lost, or overwritten
    unpaired: int = 0  # images for which another detector's faces did not come
    undecodable: int = 0
    undecodable_in_a_row: int = 0
    faces: int = 0
    latencies_s: Deque[float] = field(default_factory=lambda: deque(maxlen=300))
    _asked: Tuple[float, Tuple[int, ...]] = field(
        default_factory=lambda: (time.monotonic(), (0, 0, 0, 0))
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **amounts: int) -> None:
        """Add to totals by name."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def add_latency(self, seconds: float) -> None:
        """Remember how long an answer took; the oldest is forgotten."""
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

    def recent(self) -> Recent:
        """What happened since this was asked before."""
        with self._lock:
            now_s = time.monotonic()
            dropped = self.stale + self.missed + self.unpaired + self.undecodable
            now = (self.received, self.answered, dropped, self.missed)
            (before_s, before), self._asked = self._asked, (now_s, now)
            received, answered, dropped, missed = (b - a for a, b in zip(before, now))
            elapsed_s = max(now_s - before_s, 1e-3)
            share = min(dropped / max(received + missed, 1), 1.0)
            return Recent(received / elapsed_s, answered / elapsed_s, share)

    def values(self) -> Dict[str, int]:
        """The totals by name."""
        names = ("received", "answered", "stale", "missed", "unpaired", "undecodable", "faces")
        with self._lock:
            return {name: getattr(self, name) for name in names}


def status(
    name: str,
    hardware_id: str,
    counters: FrameCounters,
    state: str,
    options: NodeOptions,
    details: Dict[str, str],
) -> DiagnosticStatus:
    """Return how it goes with one camera, for /diagnostics.

    state: ``hearing`` images, ``silent``, or ``disabled``.
    """
    recent = counters.recent()
    p50, p99 = counters.latency_s()
    level, message = _judged(counters, state, recent, p50, options)
    pairs = {
        "topic": hardware_id,
        **{key: str(value) for key, value in counters.values().items()},
        "input hz": f"{recent.input_hz:.1f}",
        "output hz": f"{recent.output_hz:.1f}",
        "dropped": f"{recent.dropped:.0%}",
        "latency p50 ms": f"{p50 * 1e3:.1f}",
        "latency p99 ms": f"{p99 * 1e3:.1f}",
        **details,
    }
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in pairs.items()],
    )


def _judged(
    counters: FrameCounters, state: str, recent: Recent, latency_s: float, options: NodeOptions
) -> Tuple[bytes, str]:
    """Return level and message; the first that applies."""
    ok, warn, error = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
    slow = f"answers take {latency_s * 1e3:.0f} ms"
    dropping = f"{recent.dropped:.0%} of the images are not answered"
    cases = (
        (state == "disabled", ok, "disabled: images are ignored"),
        (counters.received == 0, warn, "no images yet"),
        (state == "silent", warn, "no images any more"),
        (counters.undecodable_in_a_row >= UNDECODABLE_IS_ERROR, error, "images cannot be decoded"),
        (latency_s > options.latency_error_s, error, slow),
        (recent.dropped > options.dropped_error, error, dropping),
        (latency_s > options.latency_warn_s, warn, slow),
        (recent.dropped > options.dropped_warn, warn, dropping),
    )
    return next(((level, said) for applies, level, said in cases if applies), (ok, "answering"))
