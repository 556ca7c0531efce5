"""The template of model cards."""

from __future__ import annotations

import pytest

from esr_core.evaluation.model_card import _select


def test_optional_parts_are_there_or_not() -> None:
    template = "a<!-- if data --> b<!-- end --><!-- if exact --> c<!-- end -->"
    assert _select(template, {"data": 1, "exact": None}) == "a b"


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
