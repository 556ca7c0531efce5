"""Figures as a table in the terminal."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table


def figures(
    title: str,
    columns: Dict[str, str],
    rows: Sequence[Mapping[str, Any]],
    caption: Optional[str] = None,
) -> Table:
    """Return a table with a name in the first column and numbers in the others.

    columns: keys of the rows, and what stands above them. A value that is None is shown as ``-``.
    """
    table = Table(
        title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for number, column in enumerate(columns.values()):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*("-" if row.get(key) is None else escape(str(row[key])) for key in columns))
    return table
