"""The pipeline's options as flags."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from esr_core import PipelineOptions
from esr_core.cli import pipeline_flags
from esr_core.errors import OptionError
from esr_core.options import options


def parser(**more: Any) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    pipeline_flags.add(made, **more)
    return made


def test_without_flags_the_defaults_apply() -> None:
    assert pipeline_flags.chosen(parser().parse_args([])) == PipelineOptions()


def test_every_option_has_a_flag_of_its_name() -> None:
    given = {
        "model": "a.onnx",
        "provider": "cpu",
        "branches": 3,
        "threads": 2,
        "detector": "opencv",
        "detector_model": "b.onnx",
        "detection_size_px": 320,
        "detect_every": 4,
        "rotate": 270,
        "min_score": 0.5,
        "max_faces": 2,
        "track_timeout_s": 1.5,
        "smoothing_s": 0.0,
        "hysteresis": 0.1,
    }
    assert list(given) == [option.name for option in options(PipelineOptions)]
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    assert pipeline_flags.chosen(parser().parse_args(words)) == PipelineOptions(**given)


def test_some_flags_with_other_defaults_and_changes() -> None:
    made = parser(names=("min_score", "max_faces"), defaults={"max_faces": 3})
    chosen = pipeline_flags.chosen(made.parse_args(["--min-score", "0.4"]), smoothing_s=0.0)
    assert chosen == PipelineOptions(min_score=0.4, max_faces=3, smoothing_s=0.0)
    with pytest.raises(SystemExit):
        made.parse_args(["--threads", "2"])


def test_help_has_the_allowed_values_and_the_default() -> None:
    text = " ".join(parser(defaults={"max_faces": 3}).format_help().split())
    assert "--branches N|adaptive" in text
    max_faces = next(each for each in options(PipelineOptions) if each.name == "max_faces")
    assert f"{max_faces.description} (default: 3)" in text
    assert "default: )" not in text


@pytest.mark.parametrize("branches", ["0", "65", "all", "-1", "2.5"])
def test_branches_out_of_range(branches: str) -> None:
    arguments = parser().parse_args([f"--branches={branches}"])
    text = "branches must be adaptive, or a whole number from 1 to 64, but got '?" + branches
    with pytest.raises(OptionError, match=text):
        pipeline_flags.chosen(arguments)


def test_value_out_of_bounds() -> None:
    with pytest.raises(OptionError, match="min_score must be from"):
        pipeline_flags.chosen(parser().parse_args(["--min-score", "2"]))
