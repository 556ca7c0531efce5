"""Training configs: their meaning, and their YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esr_core import OptionError, load_model
from esr_core.training.config import (
    Augmentation,
    ResizeStage,
    TrainingConfig,
    from_dict,
    read,
)

CONFIGS = sorted(Path(__file__).parents[3].glob("configs/*.yaml"))


def test_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    config = TrainingConfig(schedule="one_cycle", learning_rate=1.0, warm_up=0.1)
    rates = [config.rate(i, 100, 0) for i in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(1)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.001


def test_steps_halve_the_rate_every_ten_epochs() -> None:
    config = TrainingConfig(schedule="step", learning_rate=0.1)
    rates = [config.rate(0, 1, epoch) for epoch in (0, 9, 10, 20)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_stage_is_written_as_size_and_epochs() -> None:
    assert ResizeStage.parse("56x4") == ResizeStage(56, 4)
    assert str(ResizeStage(56, 4)) == "56x4"


@pytest.mark.parametrize("text", ["", "56", "56x", "x4", "56x4x2", "bigx4", "56x1.5"])
def test_stage_that_cannot_be_read(text: str) -> None:
    with pytest.raises(OptionError, match="SIZExEPOCHS such as 56x4"):
        ResizeStage.parse(text)


@pytest.mark.parametrize("text", ["53x1", "56x0", "-96x2"])
def test_stage_out_of_range(text: str) -> None:
    with pytest.raises(OptionError, match="size from 54 to 1024 px and 1 to 10000 epochs"):
        ResizeStage.parse(text)


def test_phases_of_branches_that_join_one_by_one() -> None:
    config = TrainingConfig(
        method="branch_by_branch",
        branches=3,
        stages=(ResizeStage(56, 2), ResizeStage(96, 1)),
        tuning_epochs=2,
    )
    first, second, third = config.phases()
    assert (first.branches, first.sizes, first.newest) == (1, (56, 56, 96), False)
    assert (second.branches, second.sizes, second.newest) == (2, (96, 96), True)
    assert third.branches == 3
    assert {phase.learns for phase in config.phases()} == {"emotions"}


def test_config_is_read_back_from_its_values() -> None:
    config = TrainingConfig(
        branches=7, stages=(ResizeStage(60, 2),), augmentation=Augmentation(flip=0.1)
    )
    assert from_dict(config.to_dict(), "here") == config


def test_file_of_options(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        "branches: 9\nstages: [56x2, 96x3]\nlearning_rate: 0.1\naugmentation:\n  flip: 0\n",
        encoding="utf-8",
    )
    config = from_dict(read(path), str(path))
    assert (config.branches, config.learning_rate, config.augmentation.flip) == (9, 0.1, 0)
    assert config.stages == (ResizeStage(56, 2), ResizeStage(96, 3))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"branchs": 2}, "here: unknown option branchs; known are augmentation, average"),
        ({"augmentation": {"flop": 1}}, "here: augmentation: unknown option flop; known are blur"),
        ({"augmentation": 3}, "augmentation must have options of its own, but is 3"),
        ({"augmentation": None}, "augmentation must have options of its own, but is None"),
        ({"stages": ["2000x1"]}, "size from 54 to 1024 px"),
        ({"learning_rate": "fast"}, "learning_rate must be a float, but got 'fast'"),
        ({"stages": "56x2"}, "stages must be a list"),
        ({"stages": []}, "stages must hold one stage or more"),
        ({"branches": 0}, "branches must be from 1 to 64, but got 0"),
        ({"branches": "many"}, "branches must be an int, but got 'many'"),
        ({"method": "magic"}, "method must be one of joint, branch_by_branch, affect"),
        ({"diversity": "volume"}, "diversity must be one of none, direct, logdet"),
        ({"momentum": 1.5}, "momentum must be from 0 to 0.9999"),
    ],
)
def test_values_that_are_no_config(values: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        from_dict(values, "here")


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("learning_rate: 5e-2\naugmentation:\n  erase: 1e-1\n", encoding="utf-8")
    config = from_dict(read(path), "here")
    assert (config.learning_rate, config.augmentation.erase) == (0.05, 0.1)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "\0", "", "[" * 1500])
def test_files_that_hold_no_options(tmp_path: Path, content: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(OptionError, match=r"my\.yaml: "):
        read(path)
    with pytest.raises(OptionError, match=r"gone\.yaml: not a readable YAML file"):
        read(tmp_path / "gone.yaml")


def test_there_are_published_configs() -> None:
    assert len(CONFIGS) == 3


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_published_configs_are_valid(path: Path) -> None:
    config = from_dict(read(path), str(path))
    assert path.stem.startswith(f"esr-{config.branches}-")
    assert list(config.sizes) == sorted(config.sizes)


def test_published_weights_end_at_the_size_in_use() -> None:
    root = Path(__file__).parents[3]
    lines = (root / "Makefile").read_text(encoding="utf-8").splitlines()
    (made_by,) = (line.split("?=")[1].split() for line in lines if line.startswith("CONFIG ?="))
    runs = [from_dict(read(root / path), path) for path in made_by]
    assert [run.branches for run in runs] == [1, 9]
    assert runs[-1].stages[-1].size_px == load_model().metadata.input.size_px
