"""Energy meters of the machine.

Jetson: the INA3221 power monitors of JetPack 4 and 5 (NVIDIA, "Jetson Linux Developer Guide", on
power). Intel and AMD: RAPL (Linux, "power capping framework"). NVIDIA GPUs: the energy counter of
NVML.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Tuple

from esr_core.inference.nvml import Gpu, first_gpu

#: Sampling period of sensors that measure power instead of energy.
SAMPLING_S = 0.02
#: The rail with the total power of a board. The AGX Xavier has none.
TOTAL_RAIL = "VDD_IN"
#: Labels of INA3221 rails, and the files whose product is the power: mW in JetPack 4, mV and mA in
#: JetPack 5.
_RAILS = (
    ("sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*", ("in_power{}_input",)),
    ("sys/class/hwmon/hwmon*/in*_label", ("in{}_input", "curr{}_input")),
)


class Meter:
    """A meter of the energy since its construction.

    read: returns a counter. unit_j: joules per count. wrap: count at which it restarts from 0.
    """

    def __init__(
        self, name: str, read: Callable[[], float], unit_j: float = 1.0, wrap: float = 0.0
    ) -> None:
        self.name = name
        self._read, self._unit_j, self._wrap = read, unit_j, wrap
        self._total, self._last = 0.0, read()

    def joules(self) -> float:
        """Return the energy in J. The counter must not wrap twice (minutes) between two calls."""
        count = self._read()
        self._total += count - self._last + (self._wrap if count < self._last else 0)
        self._last = count
        return self._total * self._unit_j


class PowerMeter(Meter):
    """A meter that integrates power over time (trapezoidal rule) in a thread."""

    def __init__(self, name: str, watts: Callable[[], float]) -> None:
        self._watts = watts
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._integral_j, self._sample = 0.0, (time.monotonic(), watts())
        super().__init__(name, self._integrate)
        threading.Thread(target=self._run, name="energy", daemon=True).start()

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLING_S):
            self._integrate()

    def _integrate(self) -> float:
        with self._lock:
            (before_s, before_w), (now_s, now_w) = self._sample, (time.monotonic(), self._watts())
            self._integral_j += (now_s - before_s) * (now_w + before_w) / 2
            self._sample = now_s, now_w
            return self._integral_j

    def close(self) -> None:
        """Stop the thread."""
        self._stopped.set()


def find_meters(root: Path = Path("/")) -> List[Meter]:
    """Return the readable meters of this machine; a Jetson has one for the whole board.

    root: mount point of the kernel's file systems.
    """
    rails = _find_rails(root)
    if rails:
        rails = {TOTAL_RAIL: rails[TOTAL_RAIL]} if TOTAL_RAIL in rails else rails
        name = f"board (INA3221: {', '.join(sorted(rails))})"
        return [PowerMeter(name, lambda: sum(map(_watts, rails.values())))]
    meters = _find_rapl(root)[0]
    gpu = first_gpu() if root == Path("/") else None
    if gpu:
        with suppress(OSError, AttributeError):  # old GPUs and drivers have no energy counter
            meters.append(Meter("GPU (NVML)", partial(_gpu_millijoules, gpu), 1e-3))
    return meters


def unreadable(root: Path = Path("/")) -> List[Path]:
    """Return the RAPL counters that this user has no permission to read."""
    return _find_rapl(root)[1]


def _find_rapl(root: Path) -> Tuple[List[Meter], List[Path]]:
    """Return the meters of the processors, and the counters that cannot be read."""
    meters: List[Meter] = []
    blocked = []
    for counter in sorted(root.glob("sys/class/powercap/intel-rapl:*/energy_uj")):
        if counter.parent.name.count(":") > 1:
            continue  # intel-rapl:0 is a package, and intel-rapl:0:0 a part that it includes
        try:
            name = f"CPU {_text(counter.with_name('name'))} (RAPL)"
            wrap = _number(counter.with_name("max_energy_range_uj"))
            meters.append(Meter(name, partial(_number, counter), 1e-6, wrap))
        except (OSError, ValueError):
            blocked.append(counter)
    return meters, blocked


def _find_rails(root: Path) -> Dict[str, List[Path]]:
    rails = {}
    for labels, names in _RAILS:
        for label in root.glob(labels):
            number = "".join(filter(str.isdigit, label.name))
            files = [label.with_name(name.format(number)) for name in names]
            driver = label.with_name("name")
            is_ina3221 = not driver.exists() or _text(driver).startswith("ina3221")
            if is_ina3221 and all(file.exists() for file in files):
                rails[_text(label)] = files
    return rails


def _watts(files: List[Path]) -> float:
    return math.prod(_number(file) / 1e3 for file in files)


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def _text(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()


def _gpu_millijoules(gpu: Gpu) -> int:
    value = ctypes.c_ulonglong()
    if gpu.library.nvmlDeviceGetTotalEnergyConsumption(gpu.handle, ctypes.byref(value)):
        raise OSError("this GPU has no energy counter")
    return value.value
