"""Worker process of ``esr_core.benchmark.runner``: one network on one engine.

A request is a line of JSON, [number of calls, batch size]; the response is a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import IO, Any, Callable, Dict

import numpy as np
from numpy.typing import NDArray

from esr_core.benchmark.cases import ON_GPU, PEAK_SIDE, Case

#: The timed call.
Engine = Callable[[NDArray[np.float32]], object]

#: Calls before the first timed one.
WARM_UP = 5


def serve(case: Case, requests: IO[str], responses: IO[str]) -> None:
    """Respond to each request with the times of the calls in s and the peak memory in MB."""
    side = case.architecture[2]
    noise = np.random.default_rng(0).random((16, 3, side, side), np.float32)
    faces = np.load(case.faces) if case.faces else noise
    call = _ENGINES[case.engine](case)
    if case.threads and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(case.threads)
    timed: Dict[int, int] = {}  # number of calls by batch size
    for request in requests:
        calls, size = json.loads(request)
        # Also later, one call is not timed: the caches hold the weights of other processes.
        warm_up = 1 if size in timed else 1 + WARM_UP
        timed.setdefault(size, 0)
        times_s = []
        for number in range(-warm_up, calls):
            first = (timed[size] + max(number, 0)) * size
            batch = np.take(faces, np.arange(first, first + size) % len(faces), axis=0)
            began_s = time.perf_counter()
            call(batch)
            times_s.append(time.perf_counter() - began_s)
        timed[size] += calls
        response = {"times_s": times_s[warm_up:], "peak_mb": _peak_mb(case)}
        print(json.dumps(response), file=responses, flush=True)


def _peak_mb(case: Case) -> float:
    """Return the peak memory of this process or, of PyTorch on a GPU, of its allocations there."""
    if case.engine == "torch" and case.provider in ON_GPU:
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    # Not getrusage(), which includes the parent before exec().
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _onnx(case: Case) -> Engine:
    from esr_core.inference.onnx_model import load_model

    model = load_model(case.model or None, case.provider, case.threads)
    if case.margin is not None:
        model.lead = case.margin
    return lambda batch: model.predict(batch, case.evaluated)


def _torch(case: Case) -> Engine:
    import torch

    from esr_core.network.esr import ESR, Ensemble

    is_eager = case.form == "eager"
    target: Dict[str, Any] = {
        "device": "cuda" if case.provider in ON_GPU else "cpu",
        "dtype": torch.float16 if case.form == "fp16" else torch.float32,
        "memory_format": torch.contiguous_format if is_eager else torch.channels_last,
    }
    network: Any = Ensemble(ESR(*case.architecture[:2])).eval().to(**target)
    if case.form == "compiled":
        network = torch.compile(network)

    def call(batch: NDArray[np.float32]) -> object:
        with torch.inference_mode():
            outputs = network(torch.from_numpy(batch).to(**target))
            return [output.float().cpu().numpy() for output in outputs]

    return call


def _training(case: Case) -> Engine:
    """Return a step of training on random faces, with the average of the weights."""
    import torch

    from esr_core.network.esr import ESR
    from esr_core.training.config import ResizeStage, TrainingConfig
    from esr_core.training.distributed import Group
    from esr_core.training.losses import EQUAL, Objective
    from esr_core.training.trainer import layout, make_optimizer, update_average

    branches, diversified, side = case.architecture
    stages = (ResizeStage(side, 1),)
    config = TrainingConfig(
        branches=branches, diversified=diversified, stages=stages, precision=case.model
    )
    device: Any = torch.device("cuda" if case.provider in ON_GPU else "cpu")
    target: Any = {"device": device, "memory_format": layout(config, device)}
    esr, average = (ESR(branches, diversified).to(**target) for _ in range(2))
    (phase,) = config.phases()
    objective = Objective(esr, config, phase, Group())
    optimizer = make_optimizer(esr, phase, config)

    def step(batch: NDArray[np.float32]) -> object:
        views = torch.from_numpy(batch[:, :1]).to(device)
        emotions = EQUAL.to(device).expand(len(batch), -1)
        losses = objective(views, emotions, torch.zeros(len(batch), 2, device=device))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        update_average(average, esr, 0.999, 1000)
        return float(losses.total.detach())

    return step


def _matmul(case: Case) -> Engine:
    """Return a product of matrices: bf16 by PyTorch, the other types by ONNX Runtime."""
    if case.model == "bf16":
        import torch

        factor = torch.rand(PEAK_SIDE, PEAK_SIDE, dtype=torch.bfloat16)
        return lambda batch: factor @ factor
    from onnx import numpy_helper, parser

    from esr_core.inference.execution_providers import session_of

    is_int8 = case.model == "int8"
    side, dtype = PEAK_SIDE, np.uint8 if is_int8 else np.float32
    types = ("uint8", "int32", "MatMulInteger") if is_int8 else ("float", "float", "MatMul")
    network = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 16]> peak '
        "({0}[{3},{3}] a) => ({1}[{3},{3}] y) {{ y = {2}(a, b) }}".format(*types, side)
    )
    weights = np.random.default_rng(0).integers(-64, 64, (side, side))
    constant = numpy_helper.from_array(weights.astype(np.int8 if is_int8 else dtype), "b")
    network.graph.initializer.append(constant)
    session = session_of(network.SerializeToString(), case.threads)
    inputs = {"a": np.full((side, side), 100, dtype)}
    return lambda batch: session.run(None, inputs)


_ENGINES = {"onnx": _onnx, "torch": _torch, "training": _training, "matmul": _matmul}

if __name__ == "__main__":
    serve(Case(**json.loads(sys.argv[1])), sys.stdin, sys.stdout)
