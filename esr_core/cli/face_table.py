"""The tables of faces that commands print."""

from __future__ import annotations

from typing import Callable, Dict, Iterable, Sequence

from rich.table import Table

from esr_core.media.records import FaceRecord

_CELLS: Dict[str, Callable[[FaceRecord], str]] = {
    "face": lambda face: str(face.face_id),
    "x": lambda face: f"{face.box[0]:.0f}",
    "y": lambda face: f"{face.box[1]:.0f}",
    "w": lambda face: f"{face.box[2]:.0f}",
    "h": lambda face: f"{face.box[3]:.0f}",
    "emotion": lambda face: face.label,
    "confidence": lambda face: f"{face.confidence:.0%}",
    "valence": lambda face: f"{face.valence:+.2f}",
    "arousal": lambda face: f"{face.arousal:+.2f}",
    "agreement": lambda face: f"{face.agreement:.0%}",
}


def face_table(
    title: str, faces: Iterable[FaceRecord], columns: Sequence[str], min_width: int = 0
) -> Table:
    """Return a table with one row per face, and some of the columns of ``_CELLS``."""
    rows = ([_CELLS[name](face) for name in columns] for face in faces)
    return table(title, columns, rows, "emotion", min_width)


def table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], text: str, min_width: int = 0
) -> Table:
    """Return a table of numbers; the column ``text`` is left-justified."""
    made = Table(title=title, title_justify="left")
    for name in columns:
        made.add_column(name, justify="left" if name == text else "right", min_width=min_width)
    for row in rows:
        made.add_row(*row)
    return made
