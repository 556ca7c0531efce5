"""Energy meters, on synthetic sensor trees."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from esr_core.benchmark.energy import PowerMeter, find_meters, unreadable


def put(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n", encoding="ascii")
    return root


def rapl(root: Path, energy_uj: int) -> Path:
    package = "sys/class/powercap/intel-rapl:0"
    return put(
        root,
        {
            f"{package}/energy_uj": str(energy_uj),
            f"{package}/max_energy_range_uj": "262143000000",
            f"{package}/name": "package-0",
            "sys/class/powercap/intel-rapl:0:0/energy_uj": "5",
            "sys/class/powercap/intel-rapl:0:0/name": "core",
        },
    )


def watts(meter: object) -> float:
    assert isinstance(meter, PowerMeter)
    meter.close()
    return meter._watts()


def test_counter_of_a_processor(tmp_path: Path) -> None:
    (meter,) = find_meters(rapl(tmp_path, 1_000_000))
    assert meter.name == "CPU package-0 (RAPL)"
    assert meter.joules() == 0
    rapl(tmp_path, 3_500_000)
    assert meter.joules() == pytest.approx(2.5)
    rapl(tmp_path, 4_000_000)
    assert meter.joules() == pytest.approx(3.0)


def test_counter_that_wraps(tmp_path: Path) -> None:
    (meter,) = find_meters(rapl(tmp_path, 262_142_000_000))
    rapl(tmp_path, 2_000_000)
    assert meter.joules() == pytest.approx(3.0)


def test_counter_that_cannot_be_read(tmp_path: Path) -> None:
    rapl(tmp_path, 1)
    counter = tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.unlink()
    counter.mkdir()  # root may read every file, but this none
    assert find_meters(tmp_path) == []
    assert unreadable(tmp_path) == [counter]


def test_jetpack_4_has_a_total_rail(tmp_path: Path) -> None:
    device = "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1"
    put(
        tmp_path,
        {
            f"{device}/rail_name_0": "VDD_IN",
            f"{device}/in_power0_input": "7600",
            f"{device}/rail_name_1": "VDD_SYS_GPU",
            f"{device}/in_power1_input": "1500",
        },
    )
    (meter,) = find_meters(tmp_path)
    assert meter.name == "board (INA3221: VDD_IN)"
    assert watts(meter) == pytest.approx(7.6)


def test_jetpack_5_without_total_rail_is_the_sum_of_rails(tmp_path: Path) -> None:
    monitor = "sys/class/hwmon/hwmon3"
    put(
        tmp_path,
        {
            "sys/class/hwmon/hwmon0/name": "thermal",
            f"{monitor}/name": "ina3221",
            f"{monitor}/in1_label": "GPU",
            f"{monitor}/in1_input": "19000",
            f"{monitor}/curr1_input": "100",
            f"{monitor}/in2_label": "CPU",
            f"{monitor}/in2_input": "19000",
            f"{monitor}/curr2_input": "300",
            f"{monitor}/in7_label": "sum of shunt voltages",
            f"{monitor}/in7_input": "12",
        },
    )
    (meter,) = find_meters(tmp_path)
    assert meter.name == "board (INA3221: CPU, GPU)"
    assert watts(meter) == pytest.approx(1.9 + 5.7)


def test_power_is_integrated_over_time() -> None:
    level_w = [10.0]
    meter = PowerMeter("made up", lambda: level_w[0])
    begin_s = time.monotonic()
    time.sleep(0.2)
    level_w[0] = 30.0
    middle_s = time.monotonic()
    time.sleep(0.2)
    measured_j, end_s = meter.joules(), time.monotonic()
    meter.close()
    expected_j = 10 * (middle_s - begin_s) + 30 * (end_s - middle_s)
    # A step between two samples is spread over the time between them.
    assert measured_j == pytest.approx(expected_j, rel=0.25)


def test_machine_without_sensors(tmp_path: Path) -> None:
    assert find_meters(tmp_path) == []
    assert unreadable(tmp_path) == []
