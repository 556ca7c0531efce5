"""How fast networks answer here, each engine in a process of its own, the processes in turns.

Thread pools of two engines in one process disturb each other, and a shared machine is not always
equally fast. So every engine has its own process, they take turns many times, and what is quoted
are medians, and ratios of what was measured in the same round.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, Callable, Dict, Iterator, List, Optional, Sequence, Union

import numpy as np
from numpy.typing import NDArray

from esr_core.energy import Meter
from esr_core.errors import EsrError

#: Answers before the first one that counts.
WARM_UP = 5


class BenchmarkError(EsrError):
    """A measurement that could not be made."""


@dataclass(frozen=True)
class Contestant:
    """One engine with one network; what a process is told to run."""

    name: str
    engine: str  # onnx or torch
    model: str = ""  # of onnx: the file
    branches: Union[int, str] = 0  # of onnx: as in Model.predict; of torch: how many there are
    diversified: bool = False  # of torch
    size_px: int = 96
    provider: str = "cpu"
    threads: int = 0
    batch: int = 1  # faces in one call
    faces: str = ""  # an .npy file of faces (n, 3, s, s); empty: noise


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
        return float(np.percentile(self.times_s, percent) * 1e3)

    def speed_up(self, baseline: Timing) -> NDArray[np.float64]:
        """How many times as fast a face is as with ``baseline``, in each round: (rounds,)."""
        per_face = np.median(self.times_s, axis=1) / self.contestant.batch
        its = np.median(baseline.times_s, axis=1) / baseline.contestant.batch
        ratio: NDArray[np.float64] = its / per_face
        return ratio

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
        runners = [stack.enter_context(_started(each)) for each in contestants]
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
    return Timing(contestant, times_s, runner.peak_mb, gross_j / calls, net_j / calls)


def _joules(meters: Sequence[Meter]) -> float:
    return sum(meter.joules() for meter in meters)


def _power_w(meters: Sequence[Meter], meanwhile: Callable[[], None]) -> float:
    before_j, began_s = _joules(meters), time.monotonic()
    meanwhile()
    return (_joules(meters) - before_j) / (time.monotonic() - began_s)


class _Runner:
    """The process of one contestant, which waits between its turns."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.peak_mb = 0.0
        self._process = process

    def run(self, calls: int) -> List[float]:
        """Let it make its calls; return their times, s."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{calls}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it said is worth more
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"{self.name} ended: {self._last_words()}")
        answer = json.loads(line)
        self.peak_mb = answer["peak_mb"]
        times: List[float] = answer["times_s"]
        return times

    def _last_words(self) -> str:
        self._process.wait()
        assert self._process.stderr is not None
        lines = self._process.stderr.read().strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"


@contextmanager
def _started(contestant: Contestant) -> Iterator[_Runner]:
    process = subprocess.Popen(
        [sys.executable, "-m", "esr_core.benchmark", json.dumps(asdict(contestant))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield _Runner(contestant.name, process)
    finally:
        process.kill()
        process.communicate()


# --- the process of a contestant ------------------------------------------------------------------


def serve(contestant: Contestant, orders: IO[str], answers: IO[str]) -> None:
    """Make as many calls as each line of ``orders`` says; answer with their times, as JSON."""
    faces = _faces(contestant)
    call = _torch_call(contestant) if contestant.engine == "torch" else _onnx_call(contestant)
    batches = [
        np.ascontiguousarray(faces[np.arange(i, i + contestant.batch) % len(faces)])
        for i in range(0, len(faces), contestant.batch)
    ]
    for i in range(WARM_UP):
        call(batches[i % len(batches)])
    made = 0
    for order in orders:
        times_s = []
        for _ in range(int(order)):
            batch = batches[made % len(batches)]
            made += 1
            began_s = time.perf_counter()
            call(batch)
            times_s.append(time.perf_counter() - began_s)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"times_s": times_s, "peak_mb": peak_mb}), file=answers, flush=True)


def _faces(contestant: Contestant) -> NDArray[np.float32]:
    if contestant.faces:
        loaded: NDArray[np.float32] = np.load(contestant.faces)
        return loaded
    size = contestant.size_px
    return np.random.default_rng(0).random((contestant.batch, 3, size, size), np.float32)


def _onnx_call(contestant: Contestant) -> Callable[[NDArray[np.float32]], object]:
    from esr_core.infer import load_model

    model = load_model(contestant.model or None, contestant.provider, contestant.threads)
    return lambda batch: model.predict(batch, contestant.branches)


def _torch_call(contestant: Contestant) -> Callable[[NDArray[np.float32]], object]:
    import torch

    from esr_core.model import ESR, Ensemble

    if contestant.threads:
        torch.set_num_threads(contestant.threads)
    network = Ensemble(ESR(int(contestant.branches), contestant.diversified)).eval()

    def call(batch: NDArray[np.float32]) -> object:
        with torch.inference_mode():
            return [part.numpy() for part in network(torch.from_numpy(batch))]

    return call


if __name__ == "__main__":
    serve(Contestant(**json.loads(sys.argv[1])), sys.stdin, sys.stdout)
