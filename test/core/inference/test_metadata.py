"""Metadata of a network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from esr_core import LABELS, ModelError
from esr_core.inference.metadata import FORMAT, ModelMetadata
from esr_core.perception.preprocessing import InputSpec

FULL = ModelMetadata(
    "ESR*-3",
    branches=3,
    diversified=True,
    input=InputSpec(size_px=72, grey=False, margin=1.5, shift_y=-0.1, detail_px=0),
    bias=(0.0, -0.5, 0.25, 1.0, 0.1, 2.0, 0.0, 3.5),
    affect="derived",
    record={"data": "made up", "validation": {"n": 3, "accuracy": 0.5}},
)


@pytest.mark.parametrize("metadata", [FULL, ModelMetadata("ESR-1", 1)])
def test_round_trip(metadata: ModelMetadata) -> None:
    assert ModelMetadata.from_json(metadata.to_json(), "here") == metadata


def test_json_holds_the_format_and_the_labels_in_order() -> None:
    content = json.loads(FULL.to_json())
    assert content["format"] == FORMAT
    assert content["labels"] == list(LABELS)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"text"', "{}"])
def test_invalid_metadata_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"^folder/x\.json: its metadata (is not readable|lacks)"):
        ModelMetadata.from_json(text, "folder/x.json")


def test_files_of_older_versions_have_no_bias_and_learned_affect() -> None:
    content = json.loads(FULL.to_json())
    del content["bias"], content["affect"]
    metadata = ModelMetadata.from_json(json.dumps(content), "x")
    assert (metadata.bias, metadata.affect) == ((), "learned")


def altered(**changes: Any) -> str:
    return json.dumps({**json.loads(FULL.to_json()), **changes})


def test_other_formats_are_refused() -> None:
    with pytest.raises(ModelError, match="written by another version; format must be 1"):
        ModelMetadata.from_json(altered(format=FORMAT + 1), "x")


def test_unknown_fields_are_named() -> None:
    with pytest.raises(ModelError, match=r"x: its metadata .*unknown colour, shape"):
        ModelMetadata.from_json(altered(shape=1, colour=2), "x")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"input": {"size_px": 10}}, "size_px must be from 54 to 1024"),
        ({"input": {"size": 96}}, "size"),
        ({"bias": [1.0, 2.0]}, r"bias must be empty or 8 numbers, but got \(1.0, 2.0\)"),
        ({"bias": [float("nan")] * 8}, "bias must be empty or 8 numbers"),
        ({"bias": ["a"] * 8}, "not readable"),
        ({"affect": "guessed"}, "affect must be one of learned, derived, but got 'guessed'"),
        ({"input": 96}, "not readable"),
        ({"labels": 8}, "not readable"),
        ({"labels": ["happy", "sad"]}, "labels"),
        ({"labels": list(reversed(LABELS))}, "labels"),
        ({"branches": 0}, "branches"),
        ({"branches": "3"}, "branches"),
        ({"name": 5}, "name must be a str"),
        ({"diversified": "no"}, "diversified a bool"),
        ({"input": {"size_px": 10**6}}, "from 54 to 1024"),
    ],
)
def test_fields_out_of_range_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ModelError, match=text):
        ModelMetadata.from_json(altered(**changes), "x")


@pytest.mark.parametrize("name", ["name", "branches", "input", "labels"])
def test_missing_fields_are_named(name: str) -> None:
    content = json.loads(FULL.to_json())
    del content[name]
    with pytest.raises(ModelError, match=name):
        ModelMetadata.from_json(json.dumps(content), "x")
