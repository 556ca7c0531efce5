"""How fast networks answer here, each engine in a process of its own, the processes in turns.

Thread pools of two engines in one process disturb each other, and a shared machine is not always
equally fast. So every engine has its own process, they take turns many times, and what is quoted
are medians, and ratios of what was measured in the same round.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from esr_core.benchmark.energy import Meter
from esr_core.benchmark.worker import PEAK_SIDE, Contestant
from esr_core.errors import EsrError
from esr_core.inference.onnx_model import ADAPTIVE


class BenchmarkError(EsrError):
    """A measurement that could not be made."""


@dataclass(frozen=True)
class Timing:
    """What was measured of one contestant."""

    contestant: Contestant
    times_s: NDArray[np.float64]  # (rounds, calls)
    peak_mb: float  # most memory that its process had, resident
    gross_j: Optional[float] = None  # energy of one call, and above that of the idle machine
    net_j: Optional[float] = None

    @property
    def evaluations_per_s(self) -> float:
        """Faces per second by the mean time of all calls, as the published tables count."""
        return float(self.contestant.batch / self.times_s.mean())

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile, from 0 to 100, of the times, in ms."""
        return float(np.percentile(self.times_s, percent) * 1e3)

    def speed_up(self, baseline: Timing) -> NDArray[np.float64]:
        """How many times as fast a face is as with ``baseline``, in each round: (rounds,)."""
        # Medians, for calls that other work disturbed; but where calls differ by themselves, since
        # some faces take more branches, the mean is what a face takes.
        usual = np.mean if self.contestant.branches == ADAPTIVE else np.median
        per_face = usual(self.times_s, axis=1) / self.contestant.batch
        its = np.median(baseline.times_s, axis=1) / baseline.contestant.batch
        ratio: NDArray[np.float64] = its / per_face
        return ratio

    @property
    def peak_gmac_per_s(self) -> float:
        """Of a product of matrices: thousand million multiplications per second."""
        return float(PEAK_SIDE**3 / np.median(self.times_s) / 1e9)

    def share_of_peak(self, peak: Timing, macs: int) -> NDArray[np.float64]:
        """The multiplications that it does, of those that the machine can do: (rounds,).

        peak: of a product of matrices. macs: of one face.
        """
        per_s = self.contestant.batch * macs / np.median(self.times_s, axis=1)
        possible = PEAK_SIDE**3 / np.median(peak.times_s, axis=1)
        share: NDArray[np.float64] = per_s / possible
        return share

    def summary(self, baseline: Optional[Timing] = None) -> Dict[str, Any]:
        """The figures as plain JSON values."""
        figures: Dict[str, Any] = {
            "name": self.contestant.name,
            "faces": self.contestant.batch,
            "evaluations_per_s": round(self.evaluations_per_s, 1),
            "p50_ms": round(self.percentile_ms(50), 2),
            "p99_ms": round(self.percentile_ms(99), 2),
            "peak_mb": round(self.peak_mb),
            "joules": None if self.gross_j is None else round(self.gross_j, 4),
            "joules_above_idle": None if self.net_j is None else round(self.net_j, 4),
        }
        if baseline is not None:
            ratios = self.speed_up(baseline)
            low, middle, high = np.percentile(ratios, [10, 50, 90])
            figures["speed_up"] = round(float(middle), 2)
            figures["speed_up_spread"] = [round(float(low), 2), round(float(high), 2)]
        return figures


def measure(
    contestants: Sequence[Contestant],
    rounds: int = 10,
    calls: int = 10,
    meters: Sequence[Meter] = (),
    on_progress: Callable[[int], None] = lambda done: None,
) -> List[Timing]:
    """Time all contestants, ``calls`` calls at a time in each of ``rounds`` rounds.

    meters: of the energy; each contestant then runs for a second more, alone.

    Raises:
        BenchmarkError: a process ended, with what it said.
    """
    times = np.zeros((len(contestants), rounds, calls))
    with ExitStack() as stack:
        processes: Dict[Contestant, _Process] = {}
        for each in contestants:
            if each.process not in processes:
                processes[each.process] = stack.enter_context(_started(each))
        runners = [_Runner(each, processes[each.process]) for each in contestants]
        for runner in runners:  # or the first would be timed while the others start
            runner.run(0)
        for done in range(rounds):
            for row, runner in enumerate(runners):
                times[row, done] = runner.run(calls)
            on_progress(done + 1)
        idle_w = _power_w(meters, lambda: time.sleep(1.0)) if meters else 0.0
        return [
            _timed(contestant, runner, times[row], meters, idle_w)
            for row, (contestant, runner) in enumerate(zip(contestants, runners))
        ]


def _timed(
    contestant: Contestant,
    runner: _Runner,
    times_s: NDArray[np.float64],
    meters: Sequence[Meter],
    idle_w: float,
) -> Timing:
    if not meters:
        return Timing(contestant, times_s, runner.peak_mb)
    calls = max(int(1.0 / float(np.median(times_s))), 1)
    before_j, began_s = _joules(meters), time.monotonic()
    runner.run(calls)
    gross_j, elapsed_s = _joules(meters) - before_j, time.monotonic() - began_s
    net_j = gross_j - idle_w * elapsed_s
    made = calls + 1  # there is one that is not timed
    return Timing(contestant, times_s, runner.peak_mb, gross_j / made, net_j / made)


def _joules(meters: Sequence[Meter]) -> float:
    return sum(meter.joules() for meter in meters)


def _power_w(meters: Sequence[Meter], meanwhile: Callable[[], None]) -> float:
    before_j, began_s = _joules(meters), time.monotonic()
    meanwhile()
    return (_joules(meters) - before_j) / (time.monotonic() - began_s)


class _Process:
    """A process that waits between its turns, and what it is called in errors."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process

    def ask(self, order: Sequence[int]) -> Dict[str, Any]:
        """Hand over an order, a line of numbers; return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(" ".join(map(str, order)) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it said is worth more
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self.name} ended: {self._last_words()}")
        answer: Dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        assert self._process.stderr is not None
        lines = self._process.stderr.read().strip().splitlines()
        code = self._process.returncode
        ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return lines[-1] if lines else ended


class _Runner:
    """A contestant in its process."""

    def __init__(self, contestant: Contestant, process: _Process) -> None:
        self.peak_mb = 0.0
        self._batch = contestant.batch
        self._process = process

    def run(self, calls: int) -> List[float]:
        """Let it make its calls; return their times, s."""
        answer = self._process.ask((calls, self._batch))
        self.peak_mb = self.peak_mb or answer["peak_mb"]  # before larger batches had their turn
        times: List[float] = answer["times_s"]
        return times


@contextmanager
def _started(contestant: Contestant) -> Iterator[_Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", "esr_core.benchmark.worker", json.dumps(asdict(contestant))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=os.sep,  # or it would import what lies where the user is
    )
    try:
        yield _Process(contestant.name, process)
    finally:
        process.kill()
        process.communicate()
