"""The template of model cards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esr_core.evaluation.metrics import measure
from esr_core.evaluation.model_card import _select, write
from esr_core.inference.metadata import ModelMetadata


def test_optional_parts_are_there_or_not() -> None:
    template = "a<!-- if data --> b<!-- end --><!-- if exact --> c<!-- end -->"
    assert _select(template, {"data": 1, "exact": None}) == "a b"


VIEWS = ("accuracy", "blurred", "darkened", "compressed", "shifted", "turned", "found")
VIEWS += ("photographed", "mirrored_too")


def card(folder: Path, network: ModelMetadata, is_annotated: bool) -> str:
    (folder / "net.onnx").write_bytes(b"network")
    data = np.eye(8, dtype=np.float32)[:5]  # no face of the last three emotions
    outputs = (data, np.zeros((5, 2)), np.arange(5)[:, None], data[:, None], np.zeros((5, 1, 2)))
    report = measure(outputs, data, np.zeros((5, 2), np.float32))
    robustness = dict.fromkeys(VIEWS, 0.5)
    write(folder / "net.onnx", network, report, robustness, is_annotated=is_annotated)
    return (folder / "net.md").read_text(encoding="utf-8")


def test_text_fits_the_data(tmp_path: Path) -> None:
    record: dict[str, object] = {"data": "ferplus", "training_images": 9}
    fer = card(tmp_path, ModelMetadata("n", 1, record=record), False)
    assert "**Derived, not annotated.**" in fer
    assert "The images of FER2013" in fer
    assert "| disgust | 0 | – |" in fer
    record["data"] = "affectnet"
    other = card(tmp_path, ModelMetadata("n", 1, affect="derived", record=record), True)
    assert "not annotated" not in other
    assert "FER2013" not in other
    assert "The faces are annotated with valence and arousal." in other
    assert "they are the mean position of the eight\nprobabilities" in other


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("<!-- if dota -->a<!-- end -->", "dota"),
        ("<!-- if data -->a", "one that does not end"),
        ("<!-- fi data -->a<!-- end -->", "one that does not end"),
    ],
)
def test_a_misspelt_part_is_an_error(template: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown optional parts: {name}"):
        _select(template, {"data": 1})


def test_text_fits_a_network_that_was_not_calibrated(tmp_path: Path) -> None:
    record: dict[str, object] = {"data": "ferplus", "training_images": 9}
    assert "was fitted" not in card(tmp_path, ModelMetadata("n", 1, record=record), False)
