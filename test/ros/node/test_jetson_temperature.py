"""Temperatures of a Jetson, in a file tree of the same form."""

from __future__ import annotations

from pathlib import Path

from esr_ros.node.diagnostics import temperatures_c


def jetson(root: Path, model: bytes) -> Path:
    (root / "proc/device-tree").mkdir(parents=True)
    (root / "proc/device-tree/model").write_bytes(model)
    for number, (name, temperature) in enumerate(
        [("CPU-therm", "41500\n"), ("GPU-therm", "39000"), ("PMIC-Die", "hot")]
    ):
        zone = root / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(name + "\n")
        (zone / "temp").write_text(temperature)
    (root / "sys/class/thermal/thermal_zone9").mkdir()
    return root


def test_readable_zones_are_returned(tmp_path: Path) -> None:
    root = jetson(tmp_path, b"NVIDIA Jetson AGX Xavier\x00")
    assert temperatures_c(root) == {"CPU-therm": 41.5, "GPU-therm": 39.0}


def test_other_machines_have_none(tmp_path: Path) -> None:
    assert temperatures_c(tmp_path) == {}
    assert temperatures_c(jetson(tmp_path, b"Raspberry Pi 4\x00")) == {}
