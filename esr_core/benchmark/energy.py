"""How much energy the machine takes, from the sensors that it has.

Jetson: the INA3221 power monitors, as JetPack 4 and 5 show them (NVIDIA, "Jetson Linux Developer
Guide", on power). Intel and AMD: RAPL (Linux, "power capping framework"). NVIDIA GPUs: NVML's
total energy counter.
"""

from __future__ import annotations

import ctypes
import threading
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional, Protocol

from esr_core.inference.nvml import Gpu, first_gpu

#: How often a sensor of power, not of energy, is looked at.
SAMPLING_S = 0.02
#: The rail through which all power of a board comes, where there is one.
TOTAL_RAIL = "VDD_IN"


class Meter(Protocol):
    """Something that counts joules."""

    name: str

    def joules(self) -> float:
        """Return the energy since the meter was made; it grows."""


class CounterMeter:
    """A file that counts microjoules and starts over at a largest value."""

    def __init__(self, name: str, counter: Path, largest_uj: int) -> None:
        self.name = name
        self._counter = counter
        self._largest_uj = largest_uj
        self._last_uj = self._read_uj()
        self._total_uj = 0

    def _read_uj(self) -> int:
        return int(self._counter.read_text(encoding="ascii"))

    def joules(self) -> float:
        """Call it more often than the counter starts over, that is every few minutes."""
        now_uj = self._read_uj()
        step_uj = now_uj - self._last_uj
        self._total_uj += step_uj if step_uj >= 0 else step_uj + self._largest_uj
        self._last_uj = now_uj
        return self._total_uj / 1e6


class PowerMeter:
    """Sensors of power, summed up over time by a thread."""

    def __init__(self, name: str, watts: Callable[[], float]) -> None:
        self.name = name
        self._watts = watts
        self._total_j = 0.0
        self._last = time.monotonic(), watts()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        threading.Thread(target=self._sample, name="energy", daemon=True).start()

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLING_S):
            self.joules()

    def joules(self) -> float:
        """Return the energy since the start, in J."""
        with self._lock:
            now_s, watts = time.monotonic(), self._watts()
            before_s, before_w = self._last
            self._total_j += (now_s - before_s) * (watts + before_w) / 2
            self._last = now_s, watts
            return self._total_j

    def close(self) -> None:
        """Sum up no longer."""
        self._stopped.set()


class GpuMeter:
    """The energy counter of the first NVIDIA GPU."""

    def __init__(self, gpu: Gpu) -> None:
        self.name = "GPU (NVML)"
        self._gpu = gpu
        self._begin_mj = self._read_mj()

    def _read_mj(self) -> int:
        value = ctypes.c_ulonglong()
        read = self._gpu.library.nvmlDeviceGetTotalEnergyConsumption
        if read(self._gpu.handle, ctypes.byref(value)):
            raise OSError("this GPU does not count its energy")
        return value.value

    def joules(self) -> float:
        """Return the energy since the start, in J."""
        return (self._read_mj() - self._begin_mj) / 1e3


def find_meters(root: Path = Path("/")) -> List[Meter]:
    """Return the meters of this machine; none where there is no sensor, or none may be read.

    root: where the file systems of the kernel are mounted.
    """
    board = _board(root)
    if board:
        return [board]
    gpu = _gpu() if root == Path("/") else None
    return [*_packages(root), *([gpu] if gpu else [])]


def unreadable(root: Path = Path("/")) -> List[Path]:
    """Return the counters that exist and that this user may not read."""
    found = []
    for counter in _counters(root):
        try:
            counter.read_bytes()
        except OSError:
            found.append(counter)
    return found


def _counters(root: Path) -> List[Path]:
    # One number behind the colon is a package; two are its parts, which are in it already.
    return sorted(
        domain / "energy_uj"
        for domain in (root / "sys/class/powercap").glob("intel-rapl:*")
        if domain.name.count(":") == 1 and (domain / "energy_uj").exists()
    )


def _packages(root: Path) -> List[Meter]:
    meters: List[Meter] = []
    for counter in _counters(root):
        try:
            largest = int((counter.parent / "max_energy_range_uj").read_text(encoding="ascii"))
            name = (counter.parent / "name").read_text(encoding="ascii").strip()
            meters.append(CounterMeter(f"CPU {name} (RAPL)", counter, largest))
        except (OSError, ValueError):
            continue
    return meters


def _board(root: Path) -> Optional[Meter]:
    rails = {**_rails_in_mw(root), **_rails_in_mv_and_ma(root)}
    if not rails:
        return None
    # AGX Xavier has no rail for all; there the sum of its rails is what comes nearest.
    chosen = {TOTAL_RAIL: rails[TOTAL_RAIL]} if TOTAL_RAIL in rails else rails
    name = f"board (INA3221: {', '.join(sorted(chosen))})"
    return PowerMeter(name, lambda: sum(watts() for watts in chosen.values()))


def _rails_in_mw(root: Path) -> Dict[str, Callable[[], float]]:
    """JetPack 4."""
    rails: Dict[str, Callable[[], float]] = {}
    for label in (root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio:device*/rail_name_*"):
        power = label.with_name(f"in_power{label.name.rsplit('_', 1)[1]}_input")
        if power.exists():
            rails[_text(label)] = _watts_of(power)
    return rails


def _rails_in_mv_and_ma(root: Path) -> Dict[str, Callable[[], float]]:
    """JetPack 5."""
    rails: Dict[str, Callable[[], float]] = {}
    for monitor in (root / "sys/class/hwmon").glob("hwmon*"):
        if not (monitor / "name").exists() or _text(monitor / "name") != "ina3221":
            continue
        for label in monitor.glob("in*_label"):
            number = label.name[2 : -len("_label")]
            volts, amperes = monitor / f"in{number}_input", monitor / f"curr{number}_input"
            if volts.exists() and amperes.exists():  # the monitor's own sum has no current
                rails[_text(label)] = _watts_of(volts, amperes)
    return rails


def _watts_of(*files: Path) -> Callable[[], float]:
    """Read milliwatts, or millivolts times milliamperes."""

    def watts() -> float:
        product = 1.0
        for file in files:
            product *= int(file.read_text(encoding="ascii")) / 1e3
        return product

    return watts


def _text(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()


def _gpu() -> Optional[Meter]:
    gpu = first_gpu()
    try:
        return GpuMeter(gpu) if gpu else None
    except (OSError, AttributeError):
        return None
