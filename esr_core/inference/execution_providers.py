"""Execution providers of ONNX Runtime and their options."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type, Union

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from esr_core.errors import ModelError
from esr_core.file_names import as_utf8, native_path
from esr_core.inference import tensorrt_cache
from esr_core.inference.nvml import first_gpu
from esr_core.process import cores_of_mask, return_freed_memory, usable_cores

CPU = "CPUExecutionProvider"
#: Batch sizes of providers to which each new size costs a compilation or a search for the fastest
#: kernels. Batches are padded to one of them, and larger ones are split.
SIZES = (1, 2, 4, 8, 16, 32, 64)

#: Exceptions of ONNX Runtime for a file or a provider that does not work. ValueError: for unknown
#: options, and for messages about damaged files that are not UTF-8.
_LOAD_ERRORS: Tuple[Type[Exception], ...] = (
    *(e for e in vars(ort_errors).values() if isinstance(e, type) and issubclass(e, Exception)),
    *(RuntimeError, ValueError),
)
_log = logging.getLogger(__name__)


class Provider(NamedTuple):
    """An execution provider."""

    name: str  # in ONNX Runtime
    sizes: Tuple[int, ...] = ()  # batches are padded to; none: all sizes are equally fast
    fallbacks: Tuple[str, ...] = ()  # run the parts of a network that it does not support
    options: Tuple[Tuple[str, str], ...] = ()
    has_optional_inputs: bool = True  # False: it takes them for constants


#: A loaded network, its provider, and the folder of the engine cache of TensorRT.
Opened = Tuple[onnxruntime.InferenceSession, Provider, Optional[Path]]
#: By the names of the parameter ``provider``, the fastest first.
_PROVIDERS = {
    "tensorrt": Provider("TensorrtExecutionProvider", SIZES, ("cuda", "cpu")),
    # The fastest kernels are estimated rather than measured at each new batch size.
    "cuda": Provider(
        "CUDAExecutionProvider", SIZES, ("cpu",), (("cudnn_conv_algo_search", "HEURISTIC"),)
    ),
    "openvino": Provider("OpenVINOExecutionProvider", SIZES, ("cpu",), has_optional_inputs=False),
    "cpu": Provider(CPU),
}
#: Values of the parameter ``provider``.
PROVIDERS: Tuple[str, ...] = ("auto", *_PROVIDERS)


def installed() -> List[str]:
    """Return the providers of this build of ONNX Runtime."""
    names = onnxruntime.get_available_providers()
    return [key for key, provider in _PROVIDERS.items() if provider.name in names]


def open_session(path: Path, provider: str, threads: int) -> Opened:
    """Load a network on a provider; ``auto`` selects the fastest that works on this machine.

    threads: number of CPU threads; 0: all cores that the process may use.

    Raises:
        ModelError: the provider is unknown or does not work, or the file cannot be loaded.
    """
    if provider not in PROVIDERS:
        raise ModelError(f"provider must be one of {', '.join(PROVIDERS)}, but got {provider!r}")
    here = installed()
    if provider == "auto":
        # TensorRT builds an engine for minutes, and needs a network that is exported for it.
        # OpenVINO takes 1.7 times as long as the CPU's own kernels, and has no early exit.
        *faster, provider = [key for key in here if key not in ("tensorrt", "openvino")]
        for key in faster:
            try:
                return _open(path, key, threads)
            except ModelError as error:
                _log.warning("%s; trying the next provider", error)
    if provider not in here:
        raise ModelError(
            f"this build of ONNX Runtime has no provider {provider!r}, only {', '.join(here)}"
        )
    return _open(path, provider, threads)


def chosen(name: str) -> str:
    """Return the name in ``PROVIDERS`` of a provider that ONNX Runtime calls ``name``."""
    return next(key for key, provider in _PROVIDERS.items() if provider.name == name)


def session_of(
    model: Union[Path, bytes], threads: int, providers: Sequence[Any] = (CPU,)
) -> onnxruntime.InferenceSession:
    """Load a network, given as a path or as the content of the file, or raise ModelError."""
    with native_path(model) if isinstance(model, Path) else nullcontext(model) as network:
        try:
            session = onnxruntime.InferenceSession(
                network, session_options(threads), providers=list(providers), enable_fallback=0
            )
        except _LOAD_ERRORS as error:
            name = as_utf8(model) if isinstance(model, Path) else "a network"
            reason = " ".join(str(error).replace(str(network), name).split())
            raise ModelError(f"{name}: ONNX Runtime does not load it ({reason})") from error
    return_freed_memory()  # 28 MB with the shipped network: copies of its weights
    return session


def session_options(threads: int = 0) -> onnxruntime.SessionOptions:
    """Return the options with which all networks run; threads: 0 for all usable cores."""
    options = onnxruntime.SessionOptions()
    # By itself ONNX Runtime would count the cores of the machine and pin a thread to each.
    threads = threads or usable_cores()
    options.intra_op_num_threads = threads
    others = cores_of_mask()[1:] if threads > 1 else []
    if others and len(others) == threads - 1:
        # Between two images the threads sleep. Linux often wakes all on the core of the caller: an
        # image of a 30 Hz camera then took 1.6 to 2.2 times as long on two idle cores.
        affinities = ";".join(",".join(str(cpu + 1) for cpu in core) for core in others)
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    # Spinning threads compete with the camera and DDS for the cores: 10 % faster on an idle
    # machine, half as fast beside one busy core.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without VNNI, x86-64 adds 8-bit products in 16 bits, which saturates: the shipped network lost
    # 3 points of accuracy. Exact products take 1.4 times as long there; VNNI is not affected.
    options.add_session_config_entry("session.x64quantprecision", "1")
    # Patterns keep a second block of memory, 11 MB for the detector at 640 px, and save no time.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # users cannot act on the warnings
    return options


def _open(path: Path, key: str, threads: int) -> Opened:
    provider = _PROVIDERS[key]
    options: Dict[str, Any] = dict(provider.options)
    engines = None
    if key == "tensorrt":
        engines = tensorrt_cache.engine_folder(path, device())
        options = _tensorrt_options(path, engines)
    fallbacks = [_PROVIDERS[each].name for each in provider.fallbacks if each in installed()]
    try:
        with tensorrt_cache.locked(engines) if engines else nullcontext():
            session = session_of(path, threads, [(provider.name, options), *fallbacks])
    except OSError as error:
        raise ModelError(f"{engines}: no engine can be kept there ({error})") from error
    if session.get_providers()[0] != provider.name:
        raise ModelError(
            f"provider {key!r} is in this build of ONNX Runtime, but does not start here: is there "
            "a device, with a driver and libraries of the versions that this build requires?"
        )
    return session, provider, engines


def _tensorrt_options(path: Path, folder: Path) -> Dict[str, Any]:
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    options: Dict[str, Any] = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder),
        "trt_fp16_enable": True,
        "trt_int8_enable": b"QuantizeLinear" in path.read_bytes(),
    }
    if version >= (1, 14):
        options["trt_timing_cache_enable"] = True
    if version >= (1, 15):  # one engine for all sizes; else each larger batch builds another
        faces, *_ = _open(path, "cpu", 1)[0].get_inputs()
        size = faces.shape[-1]
        for end, count in (("min", SIZES[0]), ("opt", 4), ("max", SIZES[-1])):
            options[f"trt_profile_{end}_shapes"] = f"faces:{count}x3x{size}x{size}"
    return options


def device() -> str:
    """Return the name of the board (Jetson), of the first GPU, or ``no GPU``."""
    board = Path("/proc/device-tree/model")
    if board.is_file():
        return board.read_text(encoding="utf-8", errors="replace").strip("\0 \n")
    gpu = first_gpu()
    return gpu.name if gpu else "no GPU"
