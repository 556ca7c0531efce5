"""The progress of a training, and its progress bar."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Iterator

from esr_core.evaluation.metrics import EvaluationReport
from esr_core.progress import bar


@dataclass(frozen=True)
class TrainingProgress:
    """Reported after each step, while it validates, and with a ``report`` after that."""

    phase: str
    epoch: int  # counted over all phases, from 1
    epochs: int
    step: int  # counted over all phases
    steps: int
    size_px: int
    loss: float
    validated: float | None = None  # share of the validation that is done, while it goes on
    report: EvaluationReport | None = None


@contextmanager
def training_bar(
    batch_size: int, shown: bool = True
) -> Iterator[Callable[[TrainingProgress], None]]:
    """Show a training: a bar that counts faces, and a line for each validation."""
    if not shown:
        yield lambda step: None
        return
    with bar("faces") as progress:
        task = progress.add_task("training", total=1)

        def show(step: TrainingProgress) -> None:
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
