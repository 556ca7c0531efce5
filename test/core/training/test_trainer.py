"""Training, on a few made-up faces."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable

import cv2
import pytest
import torch

from esr_core import AnotherTraining, TrainingError
from esr_core.data.ferplus import FerPlus, read
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.perception.preprocessing import InputSpec
from esr_core.training.config import ResizeStage, TrainingConfig
from esr_core.training.trainer import TrainingProgress, train

MakeFerPlus = Callable[[str, int], Path]

TINY = TrainingConfig(branches=1, stages=(ResizeStage(54, 1),), batch_size=8, seed=3)
ONE_BY_ONE = replace(
    TINY, method="branch_by_branch", branches=2, stages=(ResizeStage(54, 2),), schedule="step"
)


@pytest.fixture
def faces(make_ferplus: MakeFerPlus) -> FerPlus:
    return read(make_ferplus("x.npz", 24), "cross_entropy")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(folder)[0].state_dict())


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_training_leaves_a_checkpoint_that_says_how_it_came_about(
    tmp_path: Path, faces: FerPlus
) -> None:
    seen = list[TrainingProgress]()
    report = train(faces, faces.subset(8), TINY, tmp_path, seen.append)
    assert [(p.step, p.steps, p.epoch, p.size_px) for p in seen] == [
        (1, 3, 1, 54),
        (2, 3, 1, 54),
        (3, 3, 1, 54),
        (3, 3, 1, 54),
        (3, 3, 1, 54),
    ]
    assert [p.validated for p in seen] == [None, None, None, 1.0, None]
    assert [p.report for p in seen] == [None, None, None, None, report]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "x.npz") == [
        "Net-Base-Shared_Representations.pt",
        "Net-Branch_1.pt",
        "curves.png",
        "esr-1-ferplus.json",
        "history.csv",
        "state.pt",
    ]
    esr, metadata = checkpoint.load(tmp_path)
    assert (metadata.name, metadata.branches) == ("ESR-1-ferplus", 1)
    assert metadata.input == InputSpec(size_px=54)
    assert metadata.record["recipe"]["stages"] == ["54x1"]
    assert metadata.record["recipe"]["seed"] == 3
    assert metadata.record["training_images"] == 24
    assert metadata.record["validation"] == json.loads(json.dumps(report.summary()))
    torch.manual_seed(TINY.seed)
    start = ESR(1).state_dict()
    for name, tensor in esr.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert not torch.equal(tensor, start[name]), name


def test_same_seed_gives_the_same_weights_and_another_one_others(
    tmp_path: Path, faces: FerPlus
) -> None:
    torch.manual_seed(99)
    train(faces, faces, TINY, tmp_path / "a")
    torch.manual_seed(100)  # what happened elsewhere must not matter
    train(faces, faces, TINY, tmp_path / "b")
    train(faces, faces, replace(TINY, seed=4), tmp_path / "c")
    first, again, other = (weights(tmp_path / name) for name in "abc")
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["base.conv1.weight"], other["base.conv1.weight"])


def test_attention_trains_and_stages_grow(tmp_path: Path, faces: FerPlus) -> None:
    sizes = list[int]()
    recipe = replace(
        TINY, branches=2, diversified=True, stages=(ResizeStage(54, 1), ResizeStage(60, 1))
    )
    train(faces, faces, recipe, tmp_path, lambda p: sizes.append(p.size_px) if p.report else None)
    _, metadata = checkpoint.load(tmp_path)
    assert sizes == [54, 60]
    assert metadata.name == "ESR*-2-ferplus"
    assert metadata.input.size_px == 60


def test_branches_join_one_by_one_and_history_tells_each(tmp_path: Path, faces: FerPlus) -> None:
    train(faces, faces, ONE_BY_ONE, tmp_path)
    assert checkpoint.load(tmp_path)[1].branches == 2
    history = rows(tmp_path)
    assert [(row["phase"], row["epoch"]) for row in history] == [
        ("branch 1", "1"),
        ("branch 1", "2"),
        ("branch 2", "3"),
    ]
    assert history[0]["valid_accuracy_2"] == ""
    for name in ("loss", "loss_1", "loss_2", "accuracy_2", "valid_loss", "valid_accuracy_2"):
        assert 0 <= float(history[2][name]) < 10
    picture = cv2.imread(str(tmp_path / "curves.png"))
    assert picture.shape[0] > 300
    assert picture.std() > 10


def test_older_parts_learn_slower_when_a_branch_joins(tmp_path: Path, faces: FerPlus) -> None:
    """With no rate at all for what is older, it stays as the first phase left it."""
    alone = replace(ONE_BY_ONE, branches=1, average=0.0)
    train(faces, faces, alone, tmp_path / "one")
    frozen = replace(ONE_BY_ONE, older_rate=0.0, average=0.0)
    train(faces, faces, frozen, tmp_path / "two")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two[name], tensor, rtol=0, atol=0)


def test_best_weights_are_kept_not_the_last(tmp_path: Path, faces: FerPlus) -> None:
    reports = []
    recipe = replace(TINY, stages=(ResizeStage(54, 4),), average=0.0, learning_rate=0.2)
    best = train(
        faces, faces, recipe, tmp_path, lambda p: reports.append(p.report) if p.report else None
    )
    assert len(reports) == 4
    assert best.accuracy == max(report.accuracy for report in reports)
    assert checkpoint.load(tmp_path)[1].record["validation"] == best.summary()


def test_affect_alone_trains_the_last_layers_or_all(tmp_path: Path, faces: FerPlus) -> None:
    torch.manual_seed(1)
    start = ESR(1)
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    recipe = replace(TINY, method="affect", learning_rate=0.1, average=0.0)
    for heads_only in (True, False):
        folder = tmp_path / str(heads_only)
        train(faces, faces, replace(recipe, heads_only=heads_only), folder, start=start)
        after = weights(folder)
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        heads = {name for name in after if "fc_dimensional" in name}
        assert heads <= changed
        assert (changed == heads) is heads_only
    torch.testing.assert_close(dict(start.state_dict()), before, rtol=0, atol=0)


def test_validation_happens_as_often_as_asked_and_at_the_end(
    tmp_path: Path, faces: FerPlus
) -> None:
    recipe = replace(TINY, stages=(ResizeStage(54, 5),), validation_interval=2, batch_size=24)
    train(faces, faces, recipe, tmp_path)
    measured = [bool(row["valid_accuracy"]) for row in rows(tmp_path)]
    assert measured == [False, True, False, True, True]


class Killed(BaseException):
    """Stands for the end of a process in a test that cannot end its own."""


@pytest.mark.parametrize("after", [2, 3, 5, 8])
def test_goes_on_after_a_kill_to_the_same_weights(
    tmp_path: Path, faces: FerPlus, after: int
) -> None:
    recipe = replace(ONE_BY_ONE, save_every_steps=2)
    train(faces, faces, recipe, tmp_path / "whole")

    def kill(progress: TrainingProgress) -> None:
        if progress.step == after and not progress.report:
            raise Killed

    with pytest.raises(Killed):
        train(faces, faces, recipe, tmp_path / "broken", kill)
    steps = list[int]()
    train(faces, faces, recipe, tmp_path / "broken", lambda p: steps.append(p.step))
    assert steps[0] > 1 or after == 2
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    assert rows(tmp_path / "whole") == rows(tmp_path / "broken")


def test_goes_on_after_a_kill_amid_any_file(
    tmp_path: Path, faces: FerPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between two files, or when all but the name of one is there."""
    recipe = replace(ONE_BY_ONE, stages=(ResizeStage(54, 1),), batch_size=24)
    train(faces, faces, recipe, tmp_path / "whole")
    whole = weights(tmp_path / "whole")
    replaces, left = os.replace, 0

    def killed(source: Path, target: Path) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        replaces(source, target)

    monkeypatch.setattr(os, "replace", killed)
    broken = 0
    for at in range(1, 100):
        folder, left = tmp_path / str(at), at
        try:
            train(faces, faces, recipe, folder)
            break
        except Killed:
            broken += 1
        train(faces, faces, recipe, folder)
        torch.testing.assert_close(weights(folder), whole, rtol=0, atol=0)
        assert rows(folder) == rows(tmp_path / "whole")
    assert broken >= 12


def test_process_that_is_killed_goes_on_to_the_same_weights(
    tmp_path: Path, make_ferplus: MakeFerPlus
) -> None:
    """As people do it: SIGKILL, then the same command again."""
    for name, count in (("train.npz.xz", 160), ("valid.npz.xz", 8)):
        make_ferplus(name, count)
    command = ["esr", "train", "--data", str(tmp_path), "--stages", "54x2", "--branches", "1"]
    command += ["--batch-size", "8", "--save-every-steps", "3", "--average", "0.9", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    with subprocess.Popen([*command, str(tmp_path / "broken")], stderr=subprocess.DEVNULL) as run:
        deadline_s = time.monotonic() + 60
        while not (tmp_path / "broken" / "state.pt").exists():
            assert time.monotonic() < deadline_s
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    subprocess.run([*command, str(tmp_path / "broken")], check=True, capture_output=True)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    assert rows(tmp_path / "whole") == rows(tmp_path / "broken")


def test_finished_training_is_not_done_again(tmp_path: Path, faces: FerPlus) -> None:
    first, steps = train(faces, faces, TINY, tmp_path), list[TrainingProgress]()
    again = train(faces, faces, TINY, tmp_path, steps.append)
    assert steps == []
    assert again.summary() == first.summary()
    train(faces, faces, TINY, tmp_path, steps.append, fresh=True)
    assert len(steps) == 5


def test_folder_with_another_training_is_left_alone(tmp_path: Path, faces: FerPlus) -> None:
    train(faces, faces, TINY, tmp_path)
    before = weights(tmp_path)
    other = replace(TINY, learning_rate=0.2, augmentation=replace(TINY.augmentation, flip=0.0))
    with pytest.raises(AnotherTraining) as caught:
        train(faces, faces, other, tmp_path)
    assert "learning_rate was 0.05, now 0.2; flip was 0.5, now 0.0" in str(caught.value)
    with pytest.raises(AnotherTraining, match="training_images was 24, now 20"):
        train(faces.subset(20), faces, TINY, tmp_path)
    with pytest.raises(AnotherTraining, match="start was"):
        train(faces, faces, TINY, tmp_path, start=ESR(1))
    torch.testing.assert_close(weights(tmp_path), before, rtol=0, atol=0)


def test_training_from_before_an_option_goes_on(tmp_path: Path, faces: FerPlus) -> None:
    report = train(faces, faces, TINY, tmp_path)
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    del saved["identity"]["recipe"]["gamma"], saved["identity"]["recipe"]["augmentation"]["mixup"]
    torch.save(saved, tmp_path / "state.pt")
    steps = list[TrainingProgress]()
    assert train(faces, faces, TINY, tmp_path, steps.append).summary() == report.summary()
    assert steps == []
    mixed = replace(TINY, augmentation=replace(TINY.augmentation, mixup=0.2))
    with pytest.raises(AnotherTraining, match=r"mixup was 0\.0, now 0\.2"):
        train(faces, faces, mixed, tmp_path)


def test_state_that_is_damaged_is_named(tmp_path: Path, faces: FerPlus) -> None:
    train(faces, faces, TINY, tmp_path)
    state = tmp_path / "state.pt"
    for content in (state.read_bytes()[:5000], b"", b"hello"):
        state.write_bytes(content)
        with pytest.raises(TrainingError, match=r"state\.pt: not the state of a training"):
            train(faces, faces, TINY, tmp_path)


def test_loss_that_is_no_number_ends_the_training(tmp_path: Path, faces: FerPlus) -> None:
    wild = replace(TINY, learning_rate=100.0, schedule="constant", stages=(ResizeStage(54, 9),))
    with pytest.raises(TrainingError, match=r"the loss is no longer a number .* below 100"):
        train(faces, faces, wild, tmp_path)


def test_set_smaller_than_a_batch_is_one_batch(tmp_path: Path, faces: FerPlus) -> None:
    steps = list[TrainingProgress]()
    train(faces.subset(5), faces, TINY, tmp_path, steps.append)
    assert {(p.step, p.steps) for p in steps} == {(1, 1)}
