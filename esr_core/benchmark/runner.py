"""Runner of all benchmarks: worker processes that measure cases in turns.

Thread pools of two engines in one process disturb each other, and the speed of a shared machine
varies. Each engine therefore has a process of its own, the processes take turns in several rounds,
and the results are medians, and ratios of figures of the same round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from esr_core.benchmark.cases import PEAK_SIDE, Case
from esr_core.benchmark.energy import Meter
from esr_core.errors import EsrError
from esr_core.inference.onnx_model import ADAPTIVE
from esr_core.network.complexity import cost

P = TypeVar("P", bound="Program")


class BenchmarkError(EsrError):
    """A measurement that could not be made."""


class Program:
    """A process that responds to lines of JSON with lines of JSON.

    has_log: keep its stderr, whose last line is then the reason if it ends. popen: further
    arguments of ``subprocess.Popen``.

    Raises:
        BenchmarkError: it does not start.
    """

    def __init__(
        self, name: str, command: Sequence[str], has_log: bool = False, **popen: Any
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+") if has_log else None  # noqa: SIM115
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log}
        try:
            self._process = subprocess.Popen(command, text=True, **pipes, **popen)
        except OSError as error:
            raise BenchmarkError(f"{name}: {error.filename}: {error.strerror}") from error

    def __enter__(self: P) -> P:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._process.communicate(timeout=1.0)  # closes stdin, at which it ends by itself
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.communicate()
        if self._log:
            self._log.close()

    def send(self, request: Any) -> None:
        """Send a request, JSON values."""
        with suppress(BrokenPipeError):  # receive() reports the reason
            print(json.dumps(request), file=self._process.stdin, flush=True)

    def receive(self) -> Any:
        """Wait for a response; BenchmarkError if it is an error, or if the process ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self.check()
        try:
            response = json.loads(line)
        except ValueError:
            raise BenchmarkError(f"{self.name}: {line.strip()}") from None
        if "error" in response:
            raise BenchmarkError(response["error"])
        return response

    def check(self) -> None:
        """Raise BenchmarkError, with the last line of the log, if the process ended."""
        code = self._process.poll()
        if code is not None:
            if self._log:
                self._log.seek(0)
            lines = [*filter(None, map(str.strip, self._log or ()))]
            raise BenchmarkError(self.end_message(code, lines[-1] if lines else ""))

    def end_message(self, code: int, last: str) -> str:
        """Return the message of an end, given the exit code and the last line of the log."""
        return f"{self.name} ended with exit code {code}{last and f': {last}'}"


class Worker(Program):
    """A process ``python -m module argument``."""

    def __init__(self, name: str, module: str, argument: str, **popen: Any) -> None:
        command = [sys.executable, "-m", module, argument]
        super().__init__(name, command, cwd=os.sep, **popen)  # Python imports from that folder


@dataclass(frozen=True)
class Timing:
    """The measurements of one case."""

    case: Case
    times_s: NDArray[np.float64]  # (rounds, calls)
    peak_mb: float = 0.0  # peak resident memory of the process
    gross_j: Optional[float] = None  # energy of one call
    net_j: Optional[float] = None  # above that of the idle machine

    @property
    def face_s(self) -> NDArray[np.float64]:
        """The time per face in each round: (rounds,)."""
        # A median excludes disturbed calls. With an early exit the number of branches differs from
        # call to call, and the mean is the cost of a face.
        average = np.mean if self.case.evaluated == ADAPTIVE else np.median
        return np.asarray(average(self.times_s, axis=1) / self.case.batch)

    @property
    def macs_per_s(self) -> NDArray[np.float64]:
        """The multiplications per second in each round: (rounds,)."""
        if self.case.engine == "matmul":
            return PEAK_SIDE**3 / self.face_s
        # The backward pass takes the gradients of the inputs and of the weights.
        passes = 3 if self.case.engine == "training" else 1
        return passes * cost(*self.case.architecture).macs / self.face_s

    def figures(
        self, baseline: Optional[Timing] = None, peak: Optional[Timing] = None
    ) -> Dict[str, Any]:
        """Return the figures as JSON values.

        baseline: timing of the same network. peak: timing of a product of matrices.
        """
        p50_ms, p99_ms = np.percentile(self.times_s, [50, 99]) * 1e3
        figures: Dict[str, Any] = {
            "network": self.case.network,
            "name": self.case.name,
            "faces": self.case.batch,
            "evaluations_per_s": round(self.case.batch / float(self.times_s.mean()), 1),
            "p50_ms": round(p50_ms, 2),
            "p99_ms": round(p99_ms, 2),
            "peak_mb": round(self.peak_mb),
            "joules": None if self.gross_j is None else round(self.gross_j, 4),
            "joules_above_idle": None if self.net_j is None else round(self.net_j, 4),
        }
        if baseline:
            low, median, high = np.percentile(baseline.face_s / self.face_s, [10, 50, 90]).round(2)
            figures.update(speed_up=median, speed_up_spread=[low, high])
        if peak:
            share = float(np.median(self.macs_per_s / peak.macs_per_s))
            figures["share_of_peak"] = round(share, 3)
        return figures


def measure(
    cases: Sequence[Case],
    rounds: int = 10,
    calls: int = 10,
    meters: Sequence[Meter] = (),
    on_round: Callable[[], object] = lambda: None,
) -> List[Timing]:
    """Time ``calls`` calls of each case in each of ``rounds`` rounds.

    meters: energy meters; with meters, each case then runs for one more second alone.

    Raises:
        BenchmarkError: a worker ended; with the last line of its stderr.
    """
    with ExitStack() as stack:
        workers: Dict[Case, Worker] = {}  # by setup
        for case in cases:
            if case.setup not in workers:
                words = case.name, "esr_core.benchmark.worker", json.dumps(asdict(case.setup))
                workers[case.setup] = stack.enter_context(Worker(*words, has_log=True))

        def run(case: Case, calls: int) -> Any:
            workers[case.setup].send([calls, case.batch])
            return workers[case.setup].receive()

        # All engines start before the first is timed; larger batches have not yet taken memory.
        peaks_mb = [run(case, 0)["peak_mb"] for case in cases]
        times_s = np.zeros((len(cases), rounds, calls))
        for number in range(rounds):
            for row, case in enumerate(cases):
                times_s[row, number] = run(case, calls)["times_s"]
            on_round()
        timings = [Timing(*each) for each in zip(cases, times_s, peaks_mb)]
        if not meters:
            return timings

        def energy(function: Callable[..., object], *arguments: object) -> Tuple[float, float]:
            before_j, began_s = sum(meter.joules() for meter in meters), time.monotonic()
            function(*arguments)
            after_j = sum(meter.joules() for meter in meters)
            return after_j - before_j, time.monotonic() - began_s

        idle_j, idle_s = energy(time.sleep, 1.0)
        for row, timing in enumerate(timings):
            count = max(int(1.0 / float(np.median(timing.times_s))), 1) + 1  # one is not timed
            gross_j, elapsed_s = energy(run, timing.case, count - 1)
            net_j = gross_j - idle_j * elapsed_s / idle_s
            timings[row] = replace(timing, gross_j=gross_j / count, net_j=net_j / count)
        return timings
