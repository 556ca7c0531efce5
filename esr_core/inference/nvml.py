"""The C interface of NVML, the management library of NVIDIA's driver."""

from __future__ import annotations

import ctypes
from typing import NamedTuple, Optional


class Gpu(NamedTuple):
    """A GPU and its management library."""

    library: ctypes.CDLL
    handle: ctypes.c_void_p

    @property
    def name(self) -> str:
        """Return the product name, such as ``NVIDIA H100 80GB HBM3``."""
        text = ctypes.create_string_buffer(96)  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
        failed = self.library.nvmlDeviceGetName(self.handle, text, len(text))
        return "unknown GPU" if failed else text.value.decode("utf-8", "replace")


def first_gpu() -> Optional[Gpu]:
    """Return the first GPU, or None without a GPU or without NVIDIA's driver."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        handle = ctypes.c_void_p()
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)):
            return None
        return Gpu(library, handle)
    except (OSError, AttributeError):
        return None
