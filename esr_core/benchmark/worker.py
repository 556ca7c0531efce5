"""An engine with a network, as a process of its own that calls it as often as it is told to.

``esr_core.benchmark.runner`` starts it. An order is a line, the number of calls and of faces in
each; the answer is a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Callable, Dict, Optional, Tuple, Union

import numpy as np
from numpy.typing import NDArray

Call = Callable[[NDArray[np.float32]], object]

#: Answers before the first one that counts.
WARM_UP = 5
#: How PyTorch may run a network: as written, or as GPUs like it.
FORMS = ("eager", "channels_last", "fp16", "compiled")
#: Providers of ONNX Runtime beside which PyTorch runs on the GPU, too.
ON_GPU = ("cuda", "tensorrt")
#: Side of the matrices by which the peak of a machine is measured.
PEAK_SIDE = 1024


@dataclass(frozen=True)
class Contestant:
    """One engine with one network; what a process is told to run."""

    name: str
    engine: str  # onnx, torch, or matmul for the machine's peak
    model: str = ""  # of onnx: the file; of matmul: int8 or fp32
    branches: Union[int, str] = 0  # of onnx: as in Model.predict; of torch: how many there are
    lead: Optional[float] = None  # of onnx: instead of the one in the file
    diversified: bool = False  # of torch
    form: str = "eager"  # of torch: one of FORMS
    size_px: int = 96
    provider: str = "cpu"  # of torch: its GPU for cuda and tensorrt
    threads: int = 0
    batch: int = 1  # faces in one call
    faces: str = ""  # an .npy file of faces (n, 3, s, s); empty: noise

    @property
    def process(self) -> Contestant:
        """What those have in common that one process serves."""
        return replace(self, name="", batch=0)


def serve(contestant: Contestant, orders: IO[str], answers: IO[str]) -> None:
    """Answer lines of ``orders``, how many calls with how many faces, by their times, as JSON."""
    faces = _faces(contestant)
    call, peak_mb = _CALLS[contestant.engine](contestant)
    made: Dict[int, int] = {}
    for order in orders:
        calls, batch = map(int, order.split())
        if batch not in made:
            made[batch] = 0
            for i in range(WARM_UP):
                call(_batch(faces, i, batch))
        call(_batch(faces, made[batch], batch))  # not counted: caches are full of others' weights
        times_s = []
        for _ in range(calls):
            some = _batch(faces, made[batch], batch)
            made[batch] += 1
            began_s = time.perf_counter()
            call(some)
            times_s.append(time.perf_counter() - began_s)
        print(json.dumps({"times_s": times_s, "peak_mb": peak_mb()}), file=answers, flush=True)


def _batch(faces: NDArray[np.float32], number: int, size: int) -> NDArray[np.float32]:
    """Return the next ``size`` faces; those of each call lie beside those of the last."""
    return np.take(faces, np.arange(number * size, (number + 1) * size) % len(faces), axis=0)


def _faces(contestant: Contestant) -> NDArray[np.float32]:
    if contestant.faces:
        loaded: NDArray[np.float32] = np.load(contestant.faces)
        return loaded
    size = contestant.size_px
    return np.random.default_rng(0).random((16, 3, size, size), np.float32)


def _resident_mb() -> float:
    """The most that this process had; getrusage would tell that of its parent, if it had more."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _onnx_call(contestant: Contestant) -> Tuple[Call, Callable[[], float]]:
    from esr_core.inference.onnx_model import load_model

    model = load_model(contestant.model or None, contestant.provider, contestant.threads)
    if contestant.lead is not None:
        model.lead = contestant.lead
    return (lambda batch: model.predict(batch, contestant.branches)), _resident_mb


def _torch_call(contestant: Contestant) -> Tuple[Call, Callable[[], float]]:
    import torch

    from esr_core.network.esr import ESR, Ensemble

    if contestant.threads:
        torch.set_num_threads(contestant.threads)
    on_gpu = contestant.provider in ON_GPU
    kind = torch.float16 if contestant.form == "fp16" else torch.float32
    layout = torch.contiguous_format if contestant.form == "eager" else torch.channels_last
    target: Dict[str, Any] = {"device": "cuda" if on_gpu else "cpu", "dtype": kind}
    network: Any = Ensemble(ESR(int(contestant.branches), contestant.diversified)).eval()
    network = network.to(**target, memory_format=layout)
    if contestant.form == "compiled":
        network = torch.compile(network)

    def call(batch: NDArray[np.float32]) -> object:
        with torch.inference_mode():
            faces = torch.from_numpy(batch).to(**target, memory_format=layout)
            return [part.float().cpu().numpy() for part in network(faces)]

    return call, (lambda: torch.cuda.max_memory_allocated() / 1e6) if on_gpu else _resident_mb


def _matmul_call(contestant: Contestant) -> Tuple[Call, Callable[[], float]]:
    """A product of matrices that is as fast as ONNX Runtime can be on this machine."""
    from onnx import TensorProto, helper, numpy_helper

    from esr_core.inference.execution_providers import session_of

    int8, side = contestant.model == "int8", PEAK_SIDE
    second = np.random.default_rng(0).integers(-64, 64, (side, side))
    kinds = (TensorProto.UINT8, TensorProto.INT32) if int8 else (TensorProto.FLOAT,) * 2
    ends = [
        helper.make_tensor_value_info(name, kind, [side, side]) for name, kind in zip("ay", kinds)
    ]
    operation = helper.make_node("MatMulInteger" if int8 else "MatMul", ["a", "b"], ["y"])
    weights = numpy_helper.from_array(second.astype(np.int8 if int8 else np.float32), "b")
    graph = helper.make_graph([operation], "peak", ends[:1], ends[1:], [weights])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    session = session_of(network.SerializeToString(), contestant.threads)
    first = np.full((side, side), 100, np.uint8 if int8 else np.float32)
    return (lambda batch: session.run(None, {"a": first})), _resident_mb


_CALLS = {"onnx": _onnx_call, "torch": _torch_call, "matmul": _matmul_call}

if __name__ == "__main__":
    serve(Contestant(**json.loads(sys.argv[1])), sys.stdin, sys.stdout)
