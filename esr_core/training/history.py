"""The history of a training: a table, and its curves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from esr_core.atomic_write import replacing
from esr_core.evaluation.metrics import EvaluationReport
from esr_core.training.config import Phase

#: A column ``loss_1`` is of branch 1 in training, ``valid_loss_1`` in validation, ``valid_loss`` of
#: the ensemble. The RMSE is of the validation only.
_METRICS = ("loss", "accuracy", "valence_rmse", "arousal_rmse")


def epoch_row(
    epoch: int,
    phase: Phase,
    size_px: int,
    learning_rate: float,
    means: Tensor,
    report: EvaluationReport | None,
) -> dict[str, Any]:
    """Return the row of an epoch.

    means: (1 + 2 * branches,) total loss, then loss and accuracy of each branch, in training.
    """
    losses, correct = means[1:].reshape(2, phase.branches).tolist()
    row: dict[str, Any] = {"phase": phase.name, "epoch": epoch, "size_px": size_px}
    row.update(learning_rate=learning_rate, loss=float(means[0]))
    row.update((f"loss_{k}", value) for k, value in enumerate(losses, start=1))
    row.update((f"accuracy_{k}", value) for k, value in enumerate(correct, start=1))
    if report:
        assert report.branches is not None
        figures = [(report.loss, report.accuracy, report.valence.rmse, report.arousal.rmse)]
        each = zip(report.branches.loss, report.branches.correct, report.branches.rmse)
        figures += [(loss, right / report.n, *rmse) for loss, right, rmse in each]
        names = _METRICS[:2] if phase.learns == "emotions" else _METRICS
        for k, values in enumerate(figures):
            ending = f"_{k}" if k else ""
            row.update((f"valid_{name}{ending}", v) for name, v in zip(names, values))
    return row


def write_csv(path: Path, history: list[dict[str, Any]]) -> None:
    """Write one line per epoch, with a column for each name in any of them."""
    columns = dict.fromkeys(name for row in history for name in row)
    with replacing(path) as partial, open(partial, "w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        for row in history:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def draw(path: Path, history: list[dict[str, Any]], title: str) -> None:
    """Draw the curves as PNG: thin lines are branches (dashed: training), thick is the ensemble."""
    columns = {name for row in history for name in row}
    # Before the first validation only the training has curves.
    panels = [m for m in _METRICS if not columns.isdisjoint((f"valid_{m}", f"{m}_1"))]
    figure = Figure(figsize=(6 * len(panels), 4.2))
    # Matplotlib's automatic layouts draw twice, which is slow after each epoch.
    figure.subplots_adjust(0.1 / len(panels), 0.12, 1 - 0.03 / len(panels), 0.87, 0.15)
    axes = figure.subplots(1, len(panels), squeeze=False)
    for axis, metric in zip(axes[0], panels):
        branches = sum(
            not columns.isdisjoint((f"valid_{metric}_{k}", f"{metric}_{k}")) for k in range(1, 65)
        )
        shades = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.9, max(branches, 1)))
        for k, shade in enumerate(shades[:branches], start=1):
            label = f"branch {k}" if branches <= 9 else None
            _line(axis, history, f"valid_{metric}_{k}", color=shade, lw=1, label=label)
            _line(axis, history, f"{metric}_{k}", color=shade, lw=0.8, ls="--")
        _line(axis, history, f"valid_{metric}", color="crimson", lw=2.2, label="ensemble")
        for i in range(1, len(history)):
            if history[i]["phase"] != history[i - 1]["phase"]:
                axis.axvline(i + 0.5, color="0.8", lw=0.8, zorder=0)
        axis.set_title(metric.replace("_rmse", " RMSE"))
        axis.set(xlabel="epoch", xlim=(0.5, len(history) + 0.5))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
    axes[0, 0].legend(fontsize=8, frameon=False)
    figure.suptitle(f"{title}: validation, solid; training, dashed", fontsize=11)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _line(axis: Any, history: list[dict[str, Any]], name: str, **style: Any) -> None:
    values = np.array([row.get(name, np.nan) for row in history], float)
    known = np.isfinite(values)
    axis.plot(np.flatnonzero(known) + 1, values[known], marker="o", markersize=3, **style)
