"""Plots of ``esr bench``: the times of all engines, and accuracy over time of the early exit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from esr_core.atomic_write import replacing

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
    axes.plot(times, accuracies, "o-", color=_COLOURS["adaptive"])
    for i, point in enumerate(curve):
        count = point["branches_asked"]
        label = f"{count:g} branch{'' if count == 1 else 'es'} (margin {point['lead']:g})"
        axes.annotate(
            label if point["lead"] <= 1 else "all branches",  # probabilities differ by 1 at most
            (times[i], accuracies[i]),
            textcoords="offset points",
            xytext=(8, 6 if i % 2 else -13),  # alternates, so that labels do not overlap
            fontsize=8,
        )
    axes.set(xlabel="ms per face, mean", ylabel="accuracy on validation faces, %")
    axes.set_title("Early exit: further branches only for undecided faces", fontsize=10)
    axes.margins(x=0.35, y=0.2)
    axes.grid(color="0.9")
