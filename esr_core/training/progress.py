"""The progress of a training, and its progress bar."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Iterator

from esr_core.evaluation.metrics import EvaluationReport
from esr_core.progress import bar


@dataclass(frozen=True)
class TrainingProgress:
    """Reported after each step, during a validation, and after each epoch with its report."""

    phase: str
    epoch: int  # counted over all phases, from 1
    epochs: int
    step: int  # counted over all phases
    steps: int
    size_px: int
    loss: float
    validated: float | None = None  # share of a running validation
    report: EvaluationReport | None = None


@contextmanager
def training_bar(
    batch_size: int, shown: bool = True
) -> Iterator[Callable[[TrainingProgress], None]]:
    """Show a training: a bar that counts faces, and a line for each validation."""
    with bar("faces", shown) as progress:
        task = progress.add_task("training", total=1)

        def show(step: TrainingProgress) -> None:
            report, activity = step.report, f"loss {step.loss:.3f}"
            if report and shown:
                score = f"accuracy {report.accuracy:.2%}"
                if step.phase == "affect":
                    score = f"RMSE {report.valence.rmse:.3f} valence, "
                    score += f"{report.arousal.rmse:.3f} arousal"
                position = f"{step.phase}, epoch {step.epoch} of {step.epochs} at {step.size_px} px"
                line = f"{position}: {activity}, validation {score} ({report.n} images)"
                progress.console.print(line, highlight=False, soft_wrap=True)
            if step.validated:
                activity = f"validating, {step.validated:.0%}"
            position = f"{step.phase}, epoch {step.epoch}/{step.epochs}, {step.size_px} px"
            progress.update(
                task,
                total=step.steps * batch_size,
                completed=step.step * batch_size,
                description=f"{position}, {activity}",
                refresh=report is not None or step.validated == 1,  # shown even in a short run
            )

        yield show
