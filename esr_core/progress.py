"""Progress bars with rate and remaining time, on stderr."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Iterator, Optional

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text


class _RateColumn(TextColumn):
    """The recent number of units per second; its text is the unit."""

    def render(self, task: Task) -> Text:
        """Return the rate, or an empty text before the first measurement."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self.text_format}/s" if speed else "")


def bar(unit: str, shown: bool = True) -> Progress:
    """Return a bar that counts ``unit``; use it in a ``with`` statement."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),  # the width that the other columns leave: one line in total
        TextColumn("{task.percentage:.0f}%"),
        _RateColumn(unit),
        TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
        TextColumn("left"),
        console=console,
        expand=True,
        transient=True,  # the command prints its result itself
        disable=not (shown and console.is_terminal),  # no bars in log files
        redirect_stdout=False,  # stdout may be a pipe, which rich would redirect to stderr
    )


@contextmanager
def counter(
    unit: str, description: str, total: Optional[float] = None, shown: bool = True
) -> Iterator[Callable[..., None]]:
    """Show a bar; yield a function that sets its ``completed``, and optionally its ``total``."""
    with bar(unit, shown) as progress:
        task = progress.add_task(escape(description), total=total)
        yield lambda completed, total=total: progress.update(task, completed=completed, total=total)
