"""Options that are declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

import pytest

from esr_core import OptionError, PipelineOptions
from esr_core.options import check, option, options


@dataclass(frozen=True)
class Tea:
    minutes: float = option(3.0, "How long it draws.", (0.5, 10.0), live=True)
    cups: int = option(1, "How many.", (1, 12))
    kind: str = option("green", "Which leaves.", choices=("green", "black"))
    milk: bool = option(False, "Whether with milk.")
    note: str = option("", "Anything.")
    spoon: int = option(0, "Degrees.", choices=(0, 90))

    def __post_init__(self) -> None:
        check(self)


def test_options_are_read_back_in_order() -> None:
    declared = list(options(Tea))
    assert [o.name for o in declared] == ["minutes", "cups", "kind", "milk", "note", "spoon"]
    assert [o.default for o in declared] == [3.0, 1, "green", False, "", 0]
    assert [o.live for o in declared] == [True, False, False, False, False, False]
    assert (declared[0].low, declared[0].high) == (0.5, 10.0)
    assert (declared[4].low, declared[4].high, declared[4].choices) == (None, None, ())
    assert declared[2].choices == ("green", "black")
    assert declared[1].description == "How many."


def test_instances_have_the_same_options() -> None:
    assert list(options(Tea(cups=4))) == list(options(Tea))


@pytest.mark.parametrize(
    "good", [{"minutes": 0.5}, {"minutes": 10}, {"cups": 12}, {"milk": True}, {"kind": "black"}]
)
def test_bounds_belong_to_the_range_and_integers_are_numbers(good: dict[str, Any]) -> None:
    (name, value), tea = *good.items(), Tea(**good)
    assert getattr(tea, name) == value


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"minutes": 0.4}, "minutes must be from 0.5 to 10, but got 0.4"),
        ({"minutes": float("nan")}, "minutes must be from 0.5 to 10, but got nan"),
        ({"minutes": float("inf")}, "minutes must be from 0.5 to 10, but got inf"),
        ({"minutes": "3"}, r"minutes must be a float, but got '3' \(str\)"),
        ({"minutes": True}, r"minutes must be a float, but got True \(bool\)"),
        ({"cups": 13}, "cups must be from 1 to 12, but got 13"),
        ({"cups": 2.0}, r"cups must be an int, but got 2\.0 \(float\)"),
        ({"cups": True}, r"cups must be an int, but got True \(bool\)"),
        ({"kind": "mint"}, "kind must be one of green, black, but got 'mint'"),
        ({"milk": 1}, r"milk must be a bool, but got 1 \(int\)"),
        ({"spoon": 45}, "spoon must be one of 0, 90, but got 45"),
        ({"note": None}, r"note must be a str, but got None \(NoneType\)"),
    ],
)
def test_wrong_values_say_what_is_allowed(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        Tea(**wrong)


def test_errors_are_value_errors_too() -> None:
    with pytest.raises(ValueError, match="cups"):
        Tea(cups=0)


def test_all_options_of_the_pipeline_are_described_and_valid_as_they_come() -> None:
    defaults = PipelineOptions()
    for declared in options(PipelineOptions):
        assert declared.description.endswith("."), declared.name
        declared.check(getattr(defaults, declared.name))


def test_what_needs_a_new_model_or_detector_is_not_live() -> None:
    live = {o.name for o in options(PipelineOptions) if o.live}
    assert live.isdisjoint({"model", "provider", "threads", "detector", "detector_model"})
    assert {"min_score", "smoothing_s", "track_timeout_s"} <= live


@dataclass(frozen=True)
class Oven:
    fan: Union[int, str] = option("auto", "How fast.", (1, 4), ("auto", "off"))

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize("good", ["auto", "off", 1, 4])
def test_words_or_numbers(good: Any) -> None:
    assert Oven(good).fan == good
    assert next(options(Oven)).word_or_number


@pytest.mark.parametrize("wrong", ["fast", "3", 0, 5, 2.0, True, None])
def test_neither_word_nor_number(wrong: Any) -> None:
    text = rf"fan must be auto, off, or a whole number from 1 to 4, but got {wrong!r}"
    with pytest.raises(OptionError, match=text):
        Oven(wrong)
