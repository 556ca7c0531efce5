"""Plots of ``esr bench``: the times of all engines, and accuracy over time of the early exit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from esr_core.atomic_write import replacing

#: Smallest half of the height of the accuracy's axis, in percentage points.
SMALLEST_HALF = 1.0
_COLOURS = {"PyTorch": "0.6", "fp32": "#4c78a8", "INT8": "#f58518", "adaptive": "#54a24b"}


def draw(path: Path, results: dict[str, Any]) -> None:
    """Draw the results of ``esr bench --json`` as a PNG; the curve only if it was measured.

    Raises:
        OSError: the file cannot be written.
    """
    panels = 2 if results["curve"] else 1
    figure = Figure(figsize=(7 * panels, 4.6), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_times(axes[0], results)
    if results["curve"]:
        _draw_curve(axes[1], results["curve"])
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=100)


def _draw_times(axes: Axes, results: dict[str, Any]) -> None:
    faces = min(row["faces"] for row in results["rows"])
    rows = [row for row in results["rows"] if row["faces"] == faces]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    engines = list(dict.fromkeys(row["name"] for row in rows))
    width = 0.8 / len(engines)
    for i, engine in enumerate(engines):
        own = [row for row in rows if row["name"] == engine]
        offset = (i - (len(engines) - 1) / 2) * width
        x = [networks.index(row["network"]) + offset for row in own]
        p50 = np.array([row["p50_ms"] for row in own])
        tail = np.array([row["p99_ms"] for row in own]) - p50
        bars = axes.bar(x, p50, width, label=engine, color=_COLOURS.get(engine), zorder=2)
        axes.errorbar(x, p50, [0 * p50, tail], fmt="none", ecolor="0.3", lw=0.8, zorder=3)
        axes.bar_label(bars, fmt="%.3g", padding=-11, fontsize=7, color="white")
    axes.set_yscale("log")
    axes.set_xticks(range(len(networks)), networks)
    axes.set(ylabel="ms, median; line: to the 99th percentile")
    axes.set_title(f"{faces} face{'s' * (faces > 1)}, {results['machine']}", fontsize=10)
    axes.grid(axis="y", color="0.9", zorder=0)
    axes.legend(frameon=False, ncols=len(engines), fontsize=9)
    axes.margins(y=0.15)


def _draw_curve(axes: Axes, curve: list[dict[str, Any]]) -> None:
    times = [point["mean_ms"] for point in curve]
    accuracies = [100 * point["accuracy"] for point in curve]
    axes.plot(times, accuracies, color="0.7", zorder=1)
    shades = colormaps["viridis"](np.linspace(0.9, 0.1, len(curve)))
    for point, time, accuracy, shade in zip(curve, times, accuracies, shades):
        # Probabilities differ by 1 at most.
        margin = f"margin {point['lead']:g}" if point["lead"] <= 1 else "all evaluated"
        label = f"{point['branches_asked']:g} ({margin})"
        axes.plot(time, accuracy, "o", color=shade, label=label)
    # Some faces more or less are chance: they do not fill the height.
    middle, half = np.mean(axes.get_ylim()), max(np.ptp(accuracies), SMALLEST_HALF)
    axes.set_ylim(middle - half, middle + half)
    axes.legend(title="branches per face, mean", frameon=False, fontsize=9, loc="lower right")
    axes.set(xlabel="ms per face, mean", ylabel="accuracy on validation faces, %")
    axes.set_title("Early exit: further branches only for undecided faces", fontsize=10)
    axes.grid(color="0.9")
