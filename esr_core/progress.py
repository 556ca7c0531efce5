"""What people see while long work goes on: a bar with rate and time left, on stderr."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable, Iterator

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

if TYPE_CHECKING:
    from esr_core.train import Progress as Step


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


@contextmanager
def training_bar(batch_size: int, shown: bool = True) -> Iterator[Callable[[Step], None]]:
    """Show a training: a bar that counts faces, and a line for each validation."""
    if not shown:
        yield lambda step: None
        return
    with bar("faces") as progress:
        task = progress.add_task("training", total=1)

        def show(step: Step) -> None:
            report = step.report
            if report:
                affect = (
                    f"RMSE {report.valence.rmse:.3f} valence, {report.arousal.rmse:.3f} arousal"
                )
                said = affect if step.phase == "affect" else f"{report.accuracy:.2%} right"
                progress.console.print(
                    f"{step.phase}, epoch {step.epoch} of {step.epochs} at {step.size_px} px: "
                    f"loss {step.loss:.3f}, validation {said} ({report.n} images)",
                    highlight=False,
                    soft_wrap=True,
                )
            doing = (
                f"validates, {step.validated:.0%}" if step.validated else f"loss {step.loss:.3f}"
            )
            progress.update(
                task,
                total=step.steps * batch_size,
                completed=step.step * batch_size,
                description=f"{step.phase}, epoch {step.epoch}/{step.epochs}, "
                f"{step.size_px} px, {doing}",
                refresh=report is not None or step.validated == 1,  # seen, however fast it goes
            )

        yield show
