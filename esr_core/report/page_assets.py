"""Files and constants that the report and the live page of ``esr_ros`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict

from esr_core.emotions import CIRCUMPLEX, COLOURS_RGB, LABELS

_ASSETS = Path(__file__).parent / "assets"


def asset(name: str, folder: Path = _ASSETS) -> str:
    """Return the text of a file of a page, which is ASCII."""
    return (folder / name).read_text(encoding="ascii")


def emotion_constants() -> Dict[str, Any]:
    """Return the labels, colours and positions that ``charts.js`` needs."""
    return {
        "labels": LABELS,
        "colours": ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in COLOURS_RGB],
        "circumplex": [[round(float(v), 2) for v in affect] for affect in CIRCUMPLEX],
    }
