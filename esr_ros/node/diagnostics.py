"""Counters of one camera, and its status on /diagnostics."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Deque, Dict, NamedTuple, Tuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from esr_ros.parameters import NodeOptions

#: Time without an image after which a camera is silent.
SILENCE_S = 5.0
#: Consecutive undecodable images that are an error.
UNDECODABLE_IS_ERROR = 3
TOTALS = ("received", "answered", "stale", "missed", "unpaired", "undecodable", "faces")


class Rates(NamedTuple):
    """Rates since the last report."""

    input_hz: float
    output_hz: float
    dropped: float  # share of the images sent that were not answered, in [0, 1]


@dataclass
class FrameCounters:
    """Totals since activation; thread-safe, as the executor and the worker both count."""

    received: int = 0  # images that reached the node
    answered: int = 0  # images for which a message was published
    stale: int = 0  # images that a newer one or `~/enable` displaced before they were answered
    missed: int = 0  # images that never reached the node: lost, or overwritten in the queue
    unpaired: int = 0  # images without external detections in time
    undecodable: int = 0
    undecodable_in_a_row: int = 0
    faces: int = 0
    latencies_s: Deque[float] = field(default_factory=lambda: deque(maxlen=300))
    _last: Tuple[float, ...] = field(default_factory=lambda: (time.monotonic(), 0, 0, 0, 0))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **amounts: int) -> None:
        """Add to totals by name."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def add_latency(self, seconds: float) -> None:
        """Add the latency of an answer; the last 300 are kept."""
        with self._lock:
            self.latencies_s.append(seconds)

    def latency_s(self) -> Tuple[float, float]:
        """Return median and 99th percentile of the last 300 latencies, from stamp to message."""
        with self._lock:
            p50, p99 = np.percentile(self.latencies_s or [float("nan")], [50, 99])
        return float(p50), float(p99)

    def rates(self) -> Rates:
        """Return the rates since the last call."""
        with self._lock:
            dropped = self.stale + self.missed + self.unpaired + self.undecodable
            now = (time.monotonic(), self.received, self.answered, dropped, self.missed)
            seconds, received, answered, lost, missed = np.subtract(now, self._last).tolist()
            self._last = now
        seconds = max(seconds, 1e-3)
        share = min(lost / max(received + missed, 1), 1.0)
        return Rates(received / seconds, answered / seconds, share)

    def totals(self) -> Dict[str, int]:
        """Return the totals by name."""
        with self._lock:
            return {name: getattr(self, name) for name in TOTALS}


def status(
    name: str,
    topic: str,
    counters: FrameCounters,
    state: str,
    options: NodeOptions,
    details: Dict[str, str],
) -> DiagnosticStatus:
    """Return the status of one camera for /diagnostics.

    state: ``receiving``, ``silent`` or ``disabled``.
    """
    rates = counters.rates()
    p50, p99 = counters.latency_s()
    level, message = _level(counters, state, rates, p50, options)
    pairs = {
        "topic": topic,
        **{key: str(value) for key, value in counters.totals().items()},
        "input hz": f"{rates.input_hz:.1f}",
        "output hz": f"{rates.output_hz:.1f}",
        "dropped": f"{rates.dropped:.0%}",
        "latency p50 ms": f"{p50 * 1e3:.1f}",
        "latency p99 ms": f"{p99 * 1e3:.1f}",
        **details,
    }
    values = [KeyValue(key=key, value=value) for key, value in pairs.items()]
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=topic, values=values
    )


def _level(
    counters: FrameCounters, state: str, rates: Rates, latency_s: float, options: NodeOptions
) -> Tuple[bytes, str]:
    """Return the level and message of the first case that applies."""
    ok, warn, error = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
    slow = f"median latency is {latency_s * 1e3:.0f} ms"
    dropping = f"{rates.dropped:.0%} of the images were dropped"
    cases = (
        (state == "disabled", ok, "disabled: images are ignored"),
        (counters.received == 0, warn, "no images yet"),
        (state == "silent", warn, f"no images for {SILENCE_S:g} s"),
        (counters.undecodable_in_a_row >= UNDECODABLE_IS_ERROR, error, "images cannot be decoded"),
        (latency_s > options.latency_error_s, error, slow),
        (rates.dropped > options.dropped_error, error, dropping),
        (latency_s > options.latency_warn_s, warn, slow),
        (rates.dropped > options.dropped_warn, warn, dropping),
        (True, ok, "processing images"),
    )
    return next((level, message) for applies, level, message in cases if applies)
