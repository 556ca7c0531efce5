"""The table and the curves of a training."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from esr_core.training.history import draw, write_csv

ROWS: list[dict[str, Any]] = [
    {"phase": "branch 1", "epoch": 1, "loss": 2.0, "loss_1": 2.0, "accuracy_1": 0.2},
    {
        "phase": "branch 1",
        "epoch": 2,
        "loss": 1.5,
        "loss_1": 1.5,
        "accuracy_1": 0.4,
        "valid_loss": 1.6,
        "valid_accuracy": 0.35,
        "valid_loss_1": 1.6,
        "valid_accuracy_1": 0.35,
    },
]


def test_table_has_a_line_per_epoch_and_a_column_for_all_that_any_has(tmp_path: Path) -> None:
    write_csv(tmp_path / "history.csv", ROWS)
    with open(tmp_path / "history.csv", encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["valid_accuracy"] == ""
    assert second["valid_accuracy"] == "0.35"
    assert [first["epoch"], second["epoch"]] == ["1", "2"]


def test_curves_grow_with_what_was_measured(tmp_path: Path) -> None:
    affect = {f"valid_{name}_rmse{k}": 0.4 for name in ("valence", "arousal") for k in ("", "_1")}
    pictures = []
    for rows in (ROWS[:1], ROWS, [ROWS[0], {**ROWS[1], **affect}]):
        draw(tmp_path / "curves.png", rows, "ESR-1")
        pictures.append(cv2.imread(str(tmp_path / "curves.png")))
    before, validated, with_affect = pictures
    assert before.shape == validated.shape
    assert with_affect.shape[1] > 1.8 * validated.shape[1]
    crimson = np.array([60, 20, 220])  # of the ensemble, in BGR; the legend has it always
    fewer, more = (
        int((np.abs(picture.astype(int) - crimson).max(axis=2) < 8).sum())
        for picture in (before, validated)
    )
    assert more > fewer > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png"]
