"""The tables of faces that commands print."""

from __future__ import annotations

from typing import Iterable, Sequence

from rich.table import Table

from esr_core.media.records import FaceRecord

_CELLS = {
    "face": "{0.face_id}",
    "x": "{0.box[0]:.0f}",
    "y": "{0.box[1]:.0f}",
    "w": "{0.box[2]:.0f}",
    "h": "{0.box[3]:.0f}",
    "emotion": "{0.label}",
    "confidence": "{0.confidence:.0%}",
    "valence": "{0.valence:+.2f}",
    "arousal": "{0.arousal:+.2f}",
    "agreement": "{0.agreement:.0%}",
}


def face_table(
    title: str, faces: Iterable[FaceRecord], columns: Sequence[str], min_width: int = 0
) -> Table:
    """Return a table with one row per face, and some of the columns of ``_CELLS``."""
    rows = ([_CELLS[name].format(face) for name in columns] for face in faces)
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
