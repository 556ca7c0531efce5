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
    made.add_argument("--branches", action="store_true")  # as esr image has it
    pipeline_flags.add(made, **more)
    return made


def test_without_flags_all_is_as_it_comes() -> None:
    assert pipeline_flags.chosen(parser().parse_args([])) == PipelineOptions()


def test_every_option_has_a_flag_that_is_heard() -> None:
    given = {
        "model": "a.onnx",
        "provider": "cpu",
        "branches": 3,
        "threads": 2,
        "detector": "opencv",
        "detector_model": "b.onnx",
        "detection_size_px": 320,
        "detect_every": 4,
        "min_score": 0.5,
        "max_faces": 2,
        "track_timeout_s": 1.5,
        "smoothing_s": 0.0,
        "hysteresis": 0.1,
    }
    assert list(given) == [option.name for option in options(PipelineOptions)]
    names = {name: "ask" if name == "branches" else name.replace("_", "-") for name in given}
    words = [f"--{names[name]}={value}" for name, value in given.items()]
    assert pipeline_flags.chosen(parser().parse_args(words)) == PipelineOptions(**given)


def test_some_flags_with_other_defaults_and_changes() -> None:
    made = parser(names=("min_score", "max_faces"), defaults={"max_faces": 3})
    chosen = pipeline_flags.chosen(made.parse_args(["--min-score", "0.4"]), smoothing_s=0.0)
    assert chosen == PipelineOptions(min_score=0.4, max_faces=3, smoothing_s=0.0)
    with pytest.raises(SystemExit):
        made.parse_args(["--threads", "2"])


def test_help_says_what_holds() -> None:
    text = " ".join(parser(defaults={"max_faces": 3}).format_help().split())
    assert "--ask N|adaptive" in text
    assert "Maximum number of faces per image; the largest are kept. (default: 3)" in text


@pytest.mark.parametrize("asked", ["0", "65", "all", "-1", "2.5"])
def test_branches_that_cannot_be_asked(asked: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([f"--ask={asked}"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert "argument --ask: branches must be adaptive, or a whole number from 1 to 64" in last


def test_value_out_of_its_bounds() -> None:
    with pytest.raises(OptionError, match="min_score must be from"):
        pipeline_flags.chosen(parser().parse_args(["--min-score", "2"]))
