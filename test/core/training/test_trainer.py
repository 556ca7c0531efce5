"""Training, on a few synthetic faces."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable

import cv2
import numpy as np
import pytest
import torch
from commands import esr

from esr_core import AnotherTraining, OptionError, TrainingError
from esr_core.data.ferplus import FerPlus
from esr_core.evaluation.metrics import EvaluationReport
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.perception.preprocessing import InputSpec
from esr_core.training.config import ResizeStage, TrainingConfig
from esr_core.training.device import resolve_precision
from esr_core.training.trainer import TrainingProgress, train

MakeFerPlus = Callable[[str, int], Path]

#: In fp32, whose results differ little from machine to machine.
TINY = TrainingConfig(
    branches=1, stages=(ResizeStage(54, 1),), batch_size=2, precision="fp32", seed=3
)
ONE_BY_ONE = replace(
    TINY,
    method="branch_by_branch",
    branches=2,
    stages=(ResizeStage(54, 2),),
    schedule="step",
    learning_rate=0.01,
    save_every_steps=2,
)
#: The steps of ONE_BY_ONE at which the folder is copied, as a kill would leave it.
STEPS = (2, 3, 5, 8)


@dataclass(frozen=True)
class Run:
    """A finished training that several tests look at."""

    folder: Path
    report: EvaluationReport
    progress: list[TrainingProgress]

    def copy(self, folder: Path) -> Path:
        """Return a copy of the folder, to change."""
        return Path(shutil.copytree(self.folder, folder))


@pytest.fixture(scope="module")
def faces() -> FerPlus:
    """Noisy faces whose grey depends on the emotion."""
    labels = np.arange(6)
    images = np.random.default_rng(7).integers(0, 30, (6, 48, 48)) + labels[:, None, None] * 30
    one_hot = np.eye(8, dtype=np.float32)
    votes = 0.8 * one_hot[labels] + 0.2 * one_hot[(labels + 1) % 8]
    return FerPlus(images.astype(np.uint8), votes, labels)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, faces: FerPlus) -> Run:
    """A training by TINY."""
    folder, progress = tmp_path_factory.mktemp("tiny"), list[TrainingProgress]()
    torch.manual_seed(99)
    return Run(folder, train(faces, faces, TINY, folder, progress.append), progress)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory, faces: FerPlus) -> Run:
    """A training by ONE_BY_ONE; beside its folder lie copies from STEPS."""
    folder, progress = tmp_path_factory.mktemp("branches") / "whole", list[TrainingProgress]()

    def copy(step: TrainingProgress) -> None:
        progress.append(step)
        place = folder.with_name(str(step.step))
        if step.step in STEPS and not place.exists():
            folder.mkdir(exist_ok=True)
            shutil.copytree(folder, place)

    return Run(folder, train(faces, faces, ONE_BY_ONE, folder, copy), progress)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoint.load(folder)[0].state_dict())


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_training_writes_a_checkpoint_with_its_record(tiny: Run) -> None:
    progress, report = tiny.progress, tiny.report
    assert [(p.step, p.steps, p.epoch, p.size_px) for p in progress] == [
        (1, 3, 1, 54),
        (2, 3, 1, 54),
        (3, 3, 1, 54),
        (3, 3, 1, 54),
        (3, 3, 1, 54),
    ]
    assert [p.validated for p in progress] == [None, None, None, 1.0, None]
    assert [p.report for p in progress] == [None, None, None, None, report]
    assert sorted(path.name for path in tiny.folder.iterdir()) == [
        "Net-Base-Shared_Representations.pt",
        "Net-Branch_1.pt",
        "curves.png",
        "esr-1-ferplus.json",
        "history.csv",
        "state.pt",
    ]
    esr, metadata = checkpoint.load(tiny.folder)
    assert (metadata.name, metadata.branches) == ("ESR-1-ferplus", 1)
    assert metadata.input == InputSpec(size_px=54)
    assert metadata.record["recipe"]["stages"] == ["54x1"]
    assert metadata.record["recipe"]["seed"] == 3
    assert metadata.record["training_images"] == 6
    assert metadata.record["validation"] == json.loads(json.dumps(report.summary()))
    torch.manual_seed(TINY.seed)
    start = ESR(1).state_dict()
    for name, tensor in esr.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert not torch.equal(tensor, start[name]), name


def test_same_seed_gives_the_same_weights_and_another_one_others(
    tmp_path: Path, faces: FerPlus, tiny: Run
) -> None:
    torch.manual_seed(100)  # of the caller, without effect
    train(faces, faces, TINY, tmp_path / "b")
    train(faces, faces, replace(TINY, seed=4), tmp_path / "c")
    first, again, other = map(weights, (tiny.folder, tmp_path / "b", tmp_path / "c"))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["base.conv1.weight"], other["base.conv1.weight"])


def test_attention_trains_and_stages_grow(tmp_path: Path, faces: FerPlus) -> None:
    sizes = list[int]()
    config = replace(
        TINY, branches=2, diversified=True, stages=(ResizeStage(54, 1), ResizeStage(60, 1))
    )
    train(faces, faces, config, tmp_path, lambda p: sizes.append(p.size_px) if p.report else None)
    _, metadata = checkpoint.load(tmp_path)
    assert sizes == [54, 60]
    assert metadata.name == "ESR*-2-ferplus"
    assert metadata.input.size_px == 60


def test_branches_join_one_by_one_and_history_has_each(one_by_one: Run) -> None:
    assert checkpoint.load(one_by_one.folder)[1].branches == 2
    history = rows(one_by_one.folder)
    assert [(row["phase"], row["epoch"]) for row in history] == [
        ("branch 1", "1"),
        ("branch 1", "2"),
        ("branch 2", "3"),
    ]
    assert history[0]["valid_accuracy_2"] == ""
    for name in ("loss", "loss_1", "loss_2", "accuracy_2", "valid_loss", "valid_accuracy_2"):
        assert 0 <= float(history[2][name]) < 10
    picture = cv2.imread(str(one_by_one.folder / "curves.png"))
    assert picture.shape[0] > 300
    assert picture.std() > 10


def test_older_parts_have_a_smaller_rate(tmp_path: Path, faces: FerPlus) -> None:
    """With a rate of 0, older parts stay as they were after the first phase."""
    few = replace(ONE_BY_ONE, average=0.0)
    train(faces, faces, replace(few, branches=1), tmp_path / "one")
    frozen = replace(few, older_rate=0.0)
    train(faces, faces, frozen, tmp_path / "two")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in one.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(two[name], tensor, rtol=0, atol=0)


def test_base_of_rate_0_stays_as_it_was(tmp_path: Path, faces: FerPlus) -> None:
    torch.manual_seed(1)
    start = ESR(1)
    train(faces, faces, replace(TINY, branches=2, base_rate=0.0), tmp_path, start=start)
    after = weights(tmp_path)
    for name, tensor in start.state_dict().items():
        is_equal = torch.equal(after[name], tensor)
        assert is_equal is name.startswith("base."), name


def test_best_weights_are_kept_not_the_last(tmp_path: Path, faces: FerPlus) -> None:
    reports = []
    config = replace(TINY, stages=(ResizeStage(54, 4),), average=0.0, learning_rate=0.02)
    best = train(
        faces, faces, config, tmp_path, lambda p: reports.append(p.report) if p.report else None
    )
    assert len(reports) == 4
    assert best.accuracy == max(report.accuracy for report in reports)
    assert checkpoint.load(tmp_path)[1].record["validation"] == best.summary()


def test_affect_alone_trains_the_last_layers_or_all(tmp_path: Path, faces: FerPlus) -> None:
    torch.manual_seed(1)
    start = ESR(1)
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    config = replace(TINY, method="affect", learning_rate=0.01, average=0.0)
    for heads_only in (True, False):
        folder = tmp_path / str(heads_only)
        train(faces, faces, replace(config, heads_only=heads_only), folder, start=start)
        after = weights(folder)
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        heads = {name for name in after if "fc_dimensional" in name}
        assert heads <= changed
        assert (changed == heads) is heads_only
    torch.testing.assert_close(dict(start.state_dict()), before, rtol=0, atol=0)


def test_validation_has_an_interval_and_is_done_at_the_end(tmp_path: Path, faces: FerPlus) -> None:
    config = replace(TINY, stages=(ResizeStage(54, 5),), validation_interval=2, batch_size=6)
    train(faces, faces, config, tmp_path)
    validated = [bool(row["valid_accuracy"]) for row in rows(tmp_path)]
    assert validated == [False, True, False, True, True]


def assert_resumes(faces: FerPlus, config: TrainingConfig, folder: Path, whole: Path) -> list[int]:
    """Check that a training resumes to the same result; return the steps that it reported."""
    steps = list[int]()
    train(faces, faces, config, folder, lambda p: steps.append(p.step))
    torch.testing.assert_close(weights(folder), weights(whole), rtol=0, atol=0)
    assert rows(folder) == rows(whole)
    return steps


@pytest.mark.parametrize("after", STEPS)
def test_resumes_after_a_kill_at_a_step(
    tmp_path: Path, faces: FerPlus, one_by_one: Run, after: int
) -> None:
    broken = Path(shutil.copytree(one_by_one.folder.with_name(str(after)), tmp_path / "broken"))
    steps = assert_resumes(faces, ONE_BY_ONE, broken, one_by_one.folder)
    assert steps[0] == {2: 1, 3: 3, 5: 4, 8: 7}[after]


def test_resumes_after_a_kill_before_any_file_has_its_name(
    tmp_path: Path, faces: FerPlus, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(ONE_BY_ONE, stages=(ResizeStage(54, 1),))
    whole, replaces, broken = tmp_path / "whole", os.replace, list[Path]()

    def copying(source: Path, target: Path) -> None:
        broken.append(Path(shutil.copytree(whole, tmp_path / str(len(broken)))))
        replaces(source, target)

    few = faces.subset(2)
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", copying)
        train(few, few, config, whole)
    assert len(broken) >= 12
    for folder in broken:
        assert_resumes(few, config, folder, whole)


def test_process_that_is_killed_resumes_to_the_same_weights(
    tmp_path: Path, make_ferplus: MakeFerPlus
) -> None:
    """SIGKILL, then the same command again."""
    for name, count in (("train.npz.xz", 16), ("valid.npz.xz", 2)):
        make_ferplus(name, count)
    command = ["train", "--data", str(tmp_path), "--stages", "54x2", "--branches", "1"]
    command += ["--batch-size", "2", "--learning-rate", "0.005", "--save-every-steps", "3"]
    command += ["--average", "0.9", "--out"]
    assert esr(tmp_path, *command, "whole").returncode == 0
    words = ["esr", *command, str(tmp_path / "broken")]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as run:
        deadline_s = time.monotonic() + 60
        while not (tmp_path / "broken" / "state.pt").exists():
            assert time.monotonic() < deadline_s
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    assert esr(tmp_path, *command, "broken").returncode == 0
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)
    assert rows(tmp_path / "whole") == rows(tmp_path / "broken")


def test_finished_training_is_not_repeated(tmp_path: Path, faces: FerPlus, tiny: Run) -> None:
    folder, steps = tiny.copy(tmp_path / "copy"), list[TrainingProgress]()
    again = train(faces, faces, TINY, folder, steps.append)
    assert steps == []
    assert again.summary() == tiny.report.summary()
    train(faces, faces, TINY, folder, steps.append, fresh=True)
    assert len(steps) == 5


def test_folder_with_another_training_is_left_alone(
    tmp_path: Path, faces: FerPlus, tiny: Run
) -> None:
    folder = tiny.copy(tmp_path / "copy")
    other = replace(TINY, learning_rate=0.2, augmentation=replace(TINY.augmentation, flip=0.0))
    with pytest.raises(AnotherTraining) as caught:
        train(faces, faces, other, folder)
    assert "learning_rate was 0.05, now 0.2; flip was 0.5, now 0.0" in str(caught.value)
    with pytest.raises(AnotherTraining, match="training_images was 6, now 5"):
        train(faces.subset(5), faces, TINY, folder)
    with pytest.raises(AnotherTraining, match="start was"):
        train(faces, faces, TINY, folder, start=ESR(1))
    torch.testing.assert_close(weights(folder), weights(tiny.folder), rtol=0, atol=0)


def edit_state(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the content of ``state.pt``."""
    saved = torch.load(folder / "state.pt", weights_only=True)
    edit(saved)
    torch.save(saved, folder / "state.pt")


def test_training_from_before_an_option_resumes(tmp_path: Path, faces: FerPlus, tiny: Run) -> None:
    def remove(saved: dict[str, Any]) -> None:
        del saved["identity"]["recipe"]["gamma"]
        del saved["identity"]["recipe"]["augmentation"]["mixup"]

    folder, steps = tiny.copy(tmp_path / "copy"), list[TrainingProgress]()
    edit_state(folder, remove)
    resumed = train(faces, faces, TINY, folder, steps.append)
    assert resumed.summary() == tiny.report.summary()
    assert steps == []
    mixed = replace(TINY, augmentation=replace(TINY.augmentation, mixup=0.2))
    with pytest.raises(AnotherTraining, match=r"mixup was 0\.0, now 0\.2"):
        train(faces, faces, mixed, folder)


def test_auto_precision_is_resolved_in_the_record(tmp_path: Path, faces: FerPlus) -> None:
    train(faces, faces, replace(TINY, precision="auto"), tmp_path)
    precision = resolve_precision("auto", torch.device("cpu"))
    assert checkpoint.load(tmp_path)[1].record["recipe"]["precision"] == precision
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["identity"]["recipe"]["precision"] == precision


def test_training_resumes_in_the_precision_it_began_with(tmp_path: Path, faces: FerPlus) -> None:
    """As after a move to a machine where ``auto`` has another meaning."""
    whole, moved, few = tmp_path / "whole", tmp_path / "moved", faces.subset(2)
    config = replace(TINY, stages=(ResizeStage(54, 2),), precision="fp32")

    def copy(step: TrainingProgress) -> None:
        if step.step == 2 and not moved.exists():
            shutil.copytree(whole, moved)

    def to_bf16(saved: dict[str, Any]) -> None:
        saved["identity"]["recipe"]["precision"] = "bf16"

    train(few, few, config, whole, copy)
    edit_state(moved, to_bf16)
    with pytest.raises(AnotherTraining, match="precision was bf16, now fp32"):
        train(few, few, config, moved)
    train(few, few, replace(config, precision="auto"), moved)
    saved = torch.load(moved / "state.pt", weights_only=True)
    assert saved["identity"]["recipe"]["precision"] == "bf16"
    first, second = zip(rows(whole), rows(moved))
    assert first[0] == first[1]
    assert second[0]["loss"] != second[1]["loss"]
    assert float(second[1]["loss"]) == pytest.approx(float(second[0]["loss"]), rel=0.1)


def test_damaged_state_is_named(tmp_path: Path, faces: FerPlus, tiny: Run) -> None:
    folder = tiny.copy(tmp_path / "copy")
    state = folder / "state.pt"
    flipped = bytearray(state.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    for content in (flipped, state.read_bytes()[:5000], b"", b"hello"):
        state.write_bytes(content)
        with pytest.raises(TrainingError, match=r"state\.pt: not the state of a training"):
            train(faces, faces, TINY, folder)


def test_state_of_another_format_is_refused(tmp_path: Path, faces: FerPlus, tiny: Run) -> None:
    folder = tiny.copy(tmp_path / "copy")
    edit_state(folder, lambda saved: saved.update(format=1))
    with pytest.raises(TrainingError, match="its format is 1, but must be 2"):
        train(faces, faces, TINY, folder)


def test_start_must_be_the_configured_network(tmp_path: Path, faces: FerPlus) -> None:
    for start in (ESR(2), ESR(1, diversified=True)):
        with pytest.raises(OptionError, match=r"start is an ESR.*, but the config trains an ESR-1"):
            train(faces, faces, TINY, tmp_path / "out", start=start)
    assert not (tmp_path / "out").exists()


def test_start_with_fewer_branches_grows(tmp_path: Path, faces: FerPlus) -> None:
    start = ESR(1)
    config = replace(TINY, branches=2, learning_rate=1e-8, average=0.0)
    train(faces, faces, config, tmp_path, start=start)
    esr, _ = checkpoint.load(tmp_path)
    assert esr.name == "ESR-2"
    old, new = (branch.fc.weight.detach() for branch in esr.convolutional_branches)
    torch.testing.assert_close(old, start.convolutional_branches[0].fc.weight.detach())
    assert not torch.equal(old, new)
    config = replace(config, new_branches="copy", bag=0.5)
    train(faces, faces, config, tmp_path / "copy", start=start)
    esr, _ = checkpoint.load(tmp_path / "copy")
    old, new = (branch.fc.weight.detach() for branch in esr.convolutional_branches)
    torch.testing.assert_close(old, new)


def test_saved_weights_have_the_share_of_the_start(tmp_path: Path, faces: FerPlus) -> None:
    start, results = ESR(1), []
    for share in (0.0, 0.75):
        folder = tmp_path / str(share)
        train(faces, faces, replace(TINY, average=0.0, start_share=share), folder, start=start)
        results.append(checkpoint.load(folder)[0].base.state_dict())
    (plain, mixed), first = results, start.base.state_dict()
    for name in ("conv1.weight", "bn2.running_mean", "bn3.bias"):
        assert not torch.equal(plain[name], first[name])
        expected = 0.25 * plain[name] + 0.75 * first[name]
        torch.testing.assert_close(mixed[name], expected, rtol=1e-4, atol=1e-6)


def test_new_random_branches_have_no_share_of_a_start(tmp_path: Path, faces: FerPlus) -> None:
    start, results = ESR(1), []
    for share in (0.0, 0.75):
        config = replace(TINY, branches=2, average=0.0, start_share=share)
        train(faces, faces, config, tmp_path / str(share), start=start)
        results.append(checkpoint.load(tmp_path / str(share))[0].convolutional_branches)
    for name, plain in results[0][1].state_dict().items():
        torch.testing.assert_close(results[1][1].state_dict()[name], plain, rtol=0, atol=0)
    assert not torch.equal(results[1][0].fc.weight, results[0][0].fc.weight)


def test_training_that_is_complete_keeps_its_calibration(tmp_path: Path, faces: FerPlus) -> None:
    train(faces, faces, TINY, tmp_path)
    esr, metadata = checkpoint.load(tmp_path)
    description = checkpoint.find_description(tmp_path)
    checkpoint.write_description(tmp_path, replace(metadata, temperature=0.5), description.stem)
    train(faces, faces, TINY, tmp_path)
    assert checkpoint.load(tmp_path)[1].temperature == 0.5
    (tmp_path / "Net-Branch_1.pt").unlink()
    train(faces, faces, TINY, tmp_path)
    again = checkpoint.load(tmp_path)[0].state_dict()
    torch.testing.assert_close(dict(again), dict(esr.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize("diversified", [False, True])
def test_loss_that_is_no_number_ends_the_training(
    tmp_path: Path, faces: FerPlus, diversified: bool
) -> None:
    wild = replace(TINY, learning_rate=100.0, schedule="constant", stages=(ResizeStage(54, 9),))
    wild = replace(wild, diversified=diversified, branches=2 if diversified else 1)
    with pytest.raises(TrainingError, match=r"the loss is no longer a number .* below 100"):
        train(faces, faces, wild, tmp_path)


def test_methods_that_need_something_else(tmp_path: Path, faces: FerPlus) -> None:
    with pytest.raises(OptionError, match="trains the affect layer of a start"):
        train(faces, faces, replace(TINY, method="affect"), tmp_path)
    with pytest.raises(OptionError, match="start_share is for the methods joint and affect"):
        replace(ONE_BY_ONE, start_share=0.5)


def test_batches_of_one_face_need_two_pixels(tmp_path: Path, faces: FerPlus) -> None:
    single = replace(TINY, batch_size=1)
    for config, training in ((single, faces), (TINY, faces.subset(1))):
        with pytest.raises(OptionError, match="at least 62 px, but one has 54 px"):
            train(training, faces, config, tmp_path)
    train(faces.subset(3), faces, replace(single, stages=(ResizeStage(62, 1),)), tmp_path)


def test_set_smaller_than_a_batch_is_one_batch(tmp_path: Path, faces: FerPlus) -> None:
    steps = list[TrainingProgress]()
    train(faces.subset(5), faces, replace(TINY, batch_size=8), tmp_path, steps.append)
    assert {(p.step, p.steps) for p in steps} == {(1, 1)}
