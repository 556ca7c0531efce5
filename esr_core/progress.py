"""What people see while long work goes on: a bar with rate and time left, on stderr."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text


class RateColumn(ProgressColumn):
    """How many a second, lately."""

    def __init__(self, unit: str) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self._unit}/s" if speed else "")


def bar(unit: str, shown: bool = True) -> Progress:
    """Return a bar that counts ``unit``; use it in a ``with`` statement."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),  # what the other columns leave, so that a line does for all
        TextColumn("{task.percentage:.0f}%"),
        RateColumn(unit),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("left"),
        console=console,
        expand=True,
        transient=True,  # what came of the work is said in words
        disable=not (shown and console.is_terminal),  # a log file wants no bars
        redirect_stdout=False,  # or what is printed for a pipe would come out on stderr
    )
