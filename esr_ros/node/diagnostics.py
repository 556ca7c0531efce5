"""Counters of one camera, its status on /diagnostics, and the temperatures of a Jetson."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Deque, Dict, List, Tuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from esr_core.perception.stream_clock import SILENCE_S
from esr_ros.parameters import NodeOptions

#: Consecutive undecodable images that are an error.
UNDECODABLE_IS_ERROR = 3
#: The stages of a frame in their order: until the callback, until the worker takes it, the rest.
STAGES = ("transport", "wait", "decode", "detect", "crop", "infer", "track", "publish")
DROPPED = ("stale", "missed", "unpaired", "undecodable")  # why an image has no answer
TOTALS = ("received", "answered", *DROPPED, "faces", "left_out")


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
    left_out: int = 0  # faces beyond `max_faces`
    # Of the last 300 answers: the time from stamp to message, and that of each stage.
    _latencies_s: Deque[List[float]] = field(default_factory=lambda: deque(maxlen=300))
    _last: Tuple[float, ...] = field(default_factory=lambda: (time.monotonic(), 0, 0, 0, 0))
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **amounts: int) -> None:
        """Add to totals by name."""
        with self._lock:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def add_latency(self, seconds: float, stages_s: Dict[str, float]) -> None:
        """Add the latency of an answer, and the times of its stages."""
        with self._lock:
            self._latencies_s.append([seconds, *(stages_s.get(stage, 0.0) for stage in STAGES)])

    def latencies_s(self) -> Tuple[float, float, Dict[str, float]]:
        """Return median and 99th percentile of the latency, and the median of each stage."""
        with self._lock:
            rows = [*self._latencies_s]
        if not rows:
            return nan, nan, {}
        (p50, *stages), (p99, *_) = np.percentile(rows, [50, 99], axis=0).tolist()
        return p50, p99, dict(zip(STAGES, stages))

    def rates(self) -> Tuple[float, float, float]:
        """Return input Hz, output Hz and the share of the images dropped, since the last call."""
        with self._lock:
            dropped = sum(getattr(self, reason) for reason in DROPPED)
            now = (time.monotonic(), self.received, self.answered, dropped, self.missed)
            seconds, received, answered, lost, missed = np.subtract(now, self._last).tolist()
            self._last = now
        seconds = max(seconds, 1e-3)
        return received / seconds, answered / seconds, min(lost / max(received + missed, 1), 1.0)

    def totals(self) -> Dict[str, int]:
        """Return the totals by name."""
        with self._lock:
            return {name: getattr(self, name) for name in TOTALS}


def status(
    name: str,
    topic: str,
    counters: FrameCounters,
    state: str,
    fault: str,
    options: NodeOptions,
    details: Dict[str, str],
) -> DiagnosticStatus:
    """Return the status of one camera for /diagnostics.

    state: ``receiving``, ``silent`` or ``disabled``. fault: in stamps or poses, or "".
    """
    input_hz, output_hz, dropped = counters.rates()
    p50_s, p99_s, stages_s = counters.latencies_s()
    ok, warn, error = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
    slow = f"median latency is {p50_s * 1e3:.0f} ms"
    dropping = f"{dropped:.0%} of the images were dropped"
    cases = (  # the first that applies
        (state == "disabled", ok, "disabled: images are ignored"),
        (counters.received == 0, warn, "no images yet"),
        (state == "silent", warn, f"no images for {SILENCE_S:g} s"),
        (counters.undecodable_in_a_row >= UNDECODABLE_IS_ERROR, error, "images cannot be decoded"),
        (p50_s > options.latency_error_s, error, slow),
        (dropped > options.dropped_error, error, dropping),
        (bool(fault), warn, fault),
        (p50_s > options.latency_warn_s, warn, slow),
        (dropped > options.dropped_warn, warn, dropping),
        (True, ok, "processing images"),
    )
    level, message = next((level, message) for applies, level, message in cases if applies)
    pairs = {
        "topic": topic,
        **{key: str(value) for key, value in counters.totals().items()},
        "input hz": f"{input_hz:.1f}",
        "output hz": f"{output_hz:.1f}",
        "dropped": f"{dropped:.0%}",
        "latency p50 ms": f"{p50_s * 1e3:.1f}",
        "latency p99 ms": f"{p99_s * 1e3:.1f}",
        **{f"{stage} p50 ms": f"{s * 1e3:.2f}" for stage, s in stages_s.items()},
        **details,
    }
    values = [KeyValue(key=key, value=value) for key, value in pairs.items()]
    return DiagnosticStatus(
        level=level, name=name, message=message, hardware_id=topic, values=values
    )


def temperatures_c(root: Path = Path("/")) -> Dict[str, float]:
    """Return degrees Celsius by thermal zone; empty if this is not a Jetson.

    Other machines have monitors of their own. root: mount point of the kernel's file systems.
    """
    try:
        model = (root / "proc/device-tree/model").read_bytes()
    except OSError:
        return {}
    if b"Jetson" not in model:
        return {}
    temperatures = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        with suppress(OSError, ValueError):  # the zone is powered off
            name = (zone / "type").read_text(encoding="ascii").strip()
            temperatures[name] = int((zone / "temp").read_text(encoding="ascii")) / 1000
    return temperatures
