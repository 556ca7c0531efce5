"""What happened in each epoch of a training: a table for programs, curves for people."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from esr_core.atomic_write import replacing

_PANELS = (
    # title, what is measured on training faces, on validation faces, of the whole ensemble
    ("loss", "loss_", "valid_loss_", "valid_loss"),
    ("accuracy", "accuracy_", "valid_accuracy_", "valid_accuracy"),
    ("valence RMSE", None, "valid_valence_rmse_", "valid_valence_rmse"),
    ("arousal RMSE", None, "valid_arousal_rmse_", "valid_arousal_rmse"),
)


def write_csv(path: Path, history: list[dict[str, Any]]) -> None:
    """Write one line per epoch; a column per figure that any epoch has."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in history:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def draw(path: Path, history: list[dict[str, Any]], title: str) -> None:
    """Draw the curves as PNG: thin lines are branches (dashed: training), thick is the ensemble."""
    columns = {name for row in history for name in row}
    # Before the first validation there are the training curves at least.
    panels = [p for p in _PANELS if p[3] in columns or f"{p[1]}1" in columns]
    figure = Figure(figsize=(6 * len(panels), 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)
    epochs = np.arange(1, len(history) + 1)
    for axis, (name, training, validation, ensemble) in zip(axes[0], panels):
        branches = sum(
            not columns.isdisjoint((f"{validation}{k}", f"{training}{k}")) for k in range(1, 65)
        )
        shades = matplotlib.colormaps["viridis"](np.linspace(0.05, 0.9, max(branches, 1)))
        for k, shade in enumerate(shades[:branches], start=1):
            label = f"branch {k}" if branches <= 9 else None
            _line(axis, epochs, history, f"{validation}{k}", color=shade, lw=1, label=label)
            if training:
                _line(axis, epochs, history, f"{training}{k}", color=shade, lw=0.8, ls="--")
        _line(axis, epochs, history, ensemble, color="crimson", lw=2.2, label="ensemble")
        for i in range(1, len(history)):
            if history[i]["phase"] != history[i - 1]["phase"]:
                axis.axvline(i + 0.5, color="0.8", lw=0.8, zorder=0)
        axis.set(title=name, xlabel="epoch", xlim=(0.5, len(history) + 0.5))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.25)
    axes[0, 0].legend(fontsize=8, frameon=False)
    figure.suptitle(f"{title}: validation, solid; training, dashed", fontsize=11)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _line(axis: Any, epochs: Any, history: list[dict[str, Any]], name: str, **style: Any) -> None:
    values = np.array([row.get(name, np.nan) for row in history], float)
    known = np.isfinite(values)
    axis.plot(epochs[known], values[known], marker="o", markersize=3, **style)
