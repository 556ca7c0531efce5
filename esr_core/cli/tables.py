"""Tables of figures in the terminal."""

from __future__ import annotations

from typing import Any, Mapping, Optional, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_table(
    title: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    caption: Optional[str] = None,
) -> None:
    """Print one line per row; a column without any value is left out.

    columns: header and cell, a format string for the values of a row, such as ``{p50_ms:.1f}``.
    """
    table = Table(
        title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    shown = {name: cell for name, cell in columns.items() if any(_text(cell, row) for row in rows)}
    for name in shown:
        table.add_column(name, justify="right" if table.columns else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(_text(cell, row) or "-") for cell in shown.values()))
    Console().print(table)


def _text(cell: str, row: Mapping[str, Any]) -> str:
    try:
        text = cell.format_map(row)
    except (KeyError, TypeError):  # no such value, or None, which has no format
        return ""
    return "" if text == "None" else text
