"""Tables of faces and of figures in the terminal."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from esr_core.cli.command import StdoutConsole
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


def print_table(
    title: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    caption: Optional[str] = None,
    gap: int = 2,
) -> None:
    """Print one line per row; a column without any value is left out.

    columns: header and cell, a format string for the values of a row, such as ``{p50_ms:.1f}``.
    gap: spaces between columns, 1 or 2.
    """
    table = Table(
        title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False, padding=(0, gap - 1, 0, 0)
    )
    shown = {name: cell for name, cell in columns.items() if any(_text(cell, row) for row in rows)}
    for name in shown:
        table.add_column(name, justify="right" if table.columns else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(_text(cell, row) or "-") for cell in shown.values()))
    console = StdoutConsole()
    # A terminal that is too narrow wraps lines; rich would cut figures.
    wide = console.options.update(max_width=1000)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)


def print_targets(targets: Sequence[Tuple[str, float, str, float]]) -> int:
    """Print figures beside their bounds; return the exit code: 1 if a target is missed.

    targets: name, figure, "at least" or "at most", bound.
    """
    rows: List[Dict[str, Any]] = []
    for name, measured, sign, bound in targets:
        is_met = measured >= bound if sign == "at least" else measured <= bound
        wanted, mark = f"{sign} {bound:g}", "met" if is_met else "MISSED"
        rows.append({"name": name, "wanted": wanted, "measured": measured, "mark": mark})
    columns = {"target": "{name}", "wanted": "{wanted}", "measured": "{measured:.2f}", "": "{mark}"}
    print_table("Targets for this machine", columns, rows)
    return int(any(row["mark"] == "MISSED" for row in rows))


def _text(cell: str, row: Mapping[str, Any]) -> str:
    try:
        text = cell.format_map(row)
    except (KeyError, TypeError):  # no such value, or None, which has no format
        return ""
    return "" if text == "None" else text
