"""Temperatures of a Jetson, for /diagnostics; other machines have monitors of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Dict


def temperatures_c(root: Path = Path("/")) -> Dict[str, float]:
    """Return degrees Celsius by thermal zone, or an empty dict if this is not a Jetson.

    root: mount point of the kernel's file systems.
    """
    try:
        model = (root / "proc/device-tree/model").read_bytes()
    except OSError:
        return {}
    if b"Jetson" not in model:
        return {}
    temperatures = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        try:
            name = (zone / "type").read_text(encoding="ascii").strip()
            temperatures[name] = int((zone / "temp").read_text(encoding="ascii")) / 1000
        except (OSError, ValueError):
            continue  # the zone is powered off
    return temperatures
