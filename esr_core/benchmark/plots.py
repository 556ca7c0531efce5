"""Pictures of how fast networks are: each engine's time, and what stopping early costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from esr_core.atomic_write import replacing
from esr_core.inference.metadata import NO_EARLY_EXIT

_COLOURS = {"PyTorch": "0.6", "fp32": "#4c78a8", "INT8": "#f58518", "adaptive": "#54a24b"}


def draw(path: Path, told: dict[str, Any]) -> None:
    """Draw what ``esr bench --json`` tells as a PNG; the curve where it was measured.

    Raises:
        OSError: it cannot be written.
    """
    panels = 2 if told["curve"] else 1
    figure = Figure(figsize=(7 * panels, 4.6), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _bars(axes[0], told)
    if told["curve"]:
        _curve(axes[1], told["curve"])
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=100)


def _bars(axes: Axes, told: dict[str, Any]) -> None:
    fewest = min(row["faces"] for row in told["rows"])
    rows = [row for row in told["rows"] if row["faces"] == fewest]
    networks = list(dict.fromkeys(row["network"] for row in rows))
    engines = list(dict.fromkeys(row["name"] for row in rows))
    width = 0.8 / len(engines)
    for i, engine in enumerate(engines):
        own = [row for row in rows if row["name"] == engine]
        places = [
            networks.index(row["network"]) + (i - (len(engines) - 1) / 2) * width for row in own
        ]
        medians = np.array([row["p50_ms"] for row in own])
        longest = np.array([row["p99_ms"] for row in own])
        bars = axes.bar(places, medians, width, label=engine, color=_COLOURS.get(engine), zorder=2)
        axes.errorbar(
            places,
            medians,
            [0 * medians, longest - medians],
            fmt="none",
            ecolor="0.3",
            lw=0.8,
            zorder=3,
        )
        axes.bar_label(
            bars, [f"{value:.3g}" for value in medians], padding=-11, fontsize=7, color="white"
        )
    axes.set_yscale("log")
    axes.set_xticks(range(len(networks)), networks)
    axes.set(ylabel="ms, median; line: to the 99th percentile")
    axes.set_title(f"{fewest} face{'s' * (fewest > 1)}, {told['machine']}", fontsize=10)
    axes.grid(axis="y", color="0.9", zorder=0)
    axes.legend(frameon=False, ncols=len(engines), fontsize=9)
    axes.margins(y=0.15)


def _curve(axes: Axes, curve: list[dict[str, Any]]) -> None:
    times = [point["mean_ms"] for point in curve]
    accuracies = [100 * point["accuracy"] for point in curve]
    axes.plot(times, accuracies, "o-", color=_COLOURS["adaptive"])
    for i, (point, time, accuracy) in enumerate(zip(curve, times, accuracies)):
        axes.annotate(
            f"asks {point['branches_asked']:g} (lead {point['lead']:g})"
            if point["lead"] < NO_EARLY_EXIT
            else "asks all",
            (time, accuracy),
            textcoords="offset points",
            xytext=(8, 6 if i % 2 else -13),  # neighbours are apart
            fontsize=8,
        )
    axes.set(xlabel="ms a face, mean", ylabel="accuracy on validation faces, %")
    axes.set_title("Asking on only where there is doubt", fontsize=10)
    axes.margins(x=0.35, y=0.2)
    axes.grid(color="0.9")
