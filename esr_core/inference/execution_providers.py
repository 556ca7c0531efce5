"""Where a network runs: the execution providers of ONNX Runtime, and what each of them needs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from esr_core.errors import ModelError
from esr_core.hashing import digest
from esr_core.inference import tensorrt_cache
from esr_core.inference.nvml import first_gpu
from esr_core.inference.tensorrt_cache import EngineKey

CPU = "CPUExecutionProvider"
#: Numbers of faces that a batch is filled up to where each new number costs a compilation or a
#: search for the fastest kernels; larger batches are cut.
SIZES = (1, 2, 4, 8, 16, 32, 64)

#: What ONNX Runtime raises for a file or a provider that does not work.
_LOAD_ERRORS = (
    ort_errors.EPFail,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    ValueError,  # options that a provider does not know; text about a damaged file, not in UTF-8
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Provider:
    """An execution provider."""

    name: str  # as ONNX Runtime calls it
    sizes: Tuple[int, ...] = ()  # batches are filled up to; none: any number is as good
    automatic: bool = True  # whether ``auto`` takes it


class Opened(NamedTuple):
    """A network that is loaded."""

    session: onnxruntime.InferenceSession
    provider: Provider
    engines: Optional[EngineKey]  # what it builds is kept; to be sealed once all is built


#: By what users call them, the fastest first.
_PROVIDERS = {
    # It builds an engine for minutes at its first start, and wants a network made for it.
    "tensorrt": Provider("TensorrtExecutionProvider", SIZES, automatic=False),
    "cuda": Provider("CUDAExecutionProvider", SIZES),
    "openvino": Provider("OpenVINOExecutionProvider", SIZES),
    "cpu": Provider(CPU),
}
#: What ``provider`` may be.
PROVIDERS: Tuple[str, ...] = ("auto", *_PROVIDERS)


def installed() -> List[str]:
    """Return the providers that this build of ONNX Runtime has."""
    names = onnxruntime.get_available_providers()
    return [key for key, provider in _PROVIDERS.items() if provider.name in names]


def open_session(path: Path, provider: str, threads: int) -> Opened:
    """Load a network on a provider; on ``auto``, on the first of them that works here.

    Raises:
        ModelError: there is no such provider, it does not work here, or the file does not load.
    """
    if provider not in PROVIDERS:
        raise ModelError(f"provider must be one of {', '.join(PROVIDERS)}, but got {provider!r}")
    here = installed()
    if provider == "auto":
        for key in here:
            if _PROVIDERS[key].automatic and key != "cpu":
                try:
                    return _open(path, key, threads)
                except ModelError as error:
                    _log.warning("%s; the next provider is tried", error)
        provider = "cpu"
    if provider not in here:
        raise ModelError(
            f"this build of ONNX Runtime has no provider {provider!r}, only {', '.join(here)}"
        )
    return _open(path, provider, threads)


def chosen(name: str) -> str:
    """What users call a provider that ONNX Runtime calls ``name``."""
    return next(key for key, provider in _PROVIDERS.items() if provider.name == name)


def session_of(
    model: Union[str, bytes], threads: int, providers: Sequence[Any] = (CPU,)
) -> onnxruntime.InferenceSession:
    """Open a file, or what it would hold, as all sessions here are opened."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait fight with the camera and DDS for the cores: a tenth faster
    # on an idle machine, half as fast beside one busy core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # of warnings nobody here could do anything about
    return onnxruntime.InferenceSession(
        model, options, providers=list(providers), enable_fallback=0
    )


def _open(path: Path, key: str, threads: int) -> Opened:
    name = _PROVIDERS[key].name
    wanted: List[Any] = [name, CPU] if name != CPU else [CPU]
    cache = None
    if key == "tensorrt":
        cache = _engine_key(path)
        try:
            tensorrt_cache.prepare(cache.folder, cache)
        except OSError as error:
            raise ModelError(f"{cache.folder}: no engine can be kept there ({error})") from error
        wanted = [(name, _tensorrt_options(path, cache.folder)), *_without_tensorrt()]
    elif key == "cuda":  # the fastest kernels are guessed, not searched for, at each new size
        wanted = [(name, {"cudnn_conv_algo_search": "HEURISTIC"}), CPU]
    try:
        session = session_of(str(path), threads, wanted)
    except _LOAD_ERRORS as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{path}: ONNX Runtime does not load it ({reason})") from error
    if session.get_providers()[0] != name:
        raise ModelError(
            f"provider {key!r} is in this build of ONNX Runtime, but does not start here: is there "
            "a device, with a driver and libraries of the versions that this build wants?"
        )
    return Opened(session, _PROVIDERS[key], cache)


def _without_tensorrt() -> List[str]:
    """What runs the parts of a network that TensorRT cannot."""
    cuda = _PROVIDERS["cuda"].name
    return [cuda, CPU] if "cuda" in installed() else [CPU]


def _engine_key(path: Path) -> EngineKey:
    return EngineKey(digest(path), f"tensorrt-{onnxruntime.__version__}", device())


def _tensorrt_options(path: Path, folder: Path) -> Dict[str, Any]:
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    chosen: Dict[str, Any] = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_fp16_enable": True,
        "trt_int8_enable": b"QuantizeLinear" in path.read_bytes(),
    }
    if version >= (1, 14):
        chosen["trt_timing_cache_enable"] = True
    if version >= (1, 15):  # one engine for all sizes, or each larger batch would be built anew
        size = _size_px(path)
        for end, faces in (("min", SIZES[0]), ("opt", 4), ("max", SIZES[-1])):
            chosen[f"trt_profile_{end}_shapes"] = f"faces:{faces}x3x{size}x{size}"
    return chosen


def _size_px(path: Path) -> int:
    """The side of a network's input, as the CPU would load it."""
    (first, *_) = onnxruntime.InferenceSession(str(path), providers=[CPU]).get_inputs()
    return int(first.shape[-1])


def device() -> str:
    """Return what this machine computes with: the board, the GPU, or nothing known."""
    board = Path("/proc/device-tree/model")
    if board.is_file():
        return board.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    gpu = first_gpu()
    return gpu.name if gpu else "no GPU"
