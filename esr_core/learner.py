"""The learner: train, measure, use, save and optimize an ESR.

It has the constructor and the methods of OpenDR's ``FacialEmotionLearner``, and reads and writes
that one's files, so scripts written for it go on working.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esr_core.atomic_write import replacing
from esr_core.data.dataset import FaceDataset, open_split
from esr_core.data.ferplus import LABEL_MODES
from esr_core.download import CATALOGUE, OPENDR, get
from esr_core.emotions import LABELS
from esr_core.errors import AnotherTraining, ModelError, OptionError
from esr_core.evaluation.metrics import (
    Predictor,
    first_branches,
    measure,
    predictions,
    torch_predictor,
)
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.inference.onnx_model import Model, load_model
from esr_core.media.image import as_batch
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.progress import bar
from esr_core.training.config import ResizeStage, TrainingConfig
from esr_core.training.distributed import leads
from esr_core.training.progress import training_bar
from esr_core.training.trainer import train
from esr_core.validation import (
    as_file_name,
    as_folder,
    as_number,
    as_path,
    check_choice,
    check_flag,
)

#: The downloads of the published learner.
_MODES = ("data", "pretrained", "demo_image", "demo_video")


@dataclass(frozen=True)
class Category:
    """What one face shows."""

    prediction: int  # index into LABELS
    confidence: float  # its probability, the mean over the branches
    description: str  # its name
    probabilities: NDArray[np.float32]  # (8,), sum 1

    @property
    def data(self) -> int:
        """The prediction, under the name that OpenDR's targets have for it."""
        return self.prediction


class FacialEmotionLearner:
    """An ESR-n, or with ``diversify`` an ESR*-n, and everything one does with it.

    Arguments are those of the published learner. ``base_path_to_dataset`` is a folder in
    AffectNet's form (:func:`esr_core.datasets.pre_process_affect_net` makes it) or one with FER+;
    ``labels`` says how FER+'s votes become targets.
    :class:`esr_core.training.config.TrainingConfig` and ``esr train`` have more options.

    Raises:
        OptionError: (a ValueError) an argument has the wrong type or is out of range.
    """

    def __init__(
        self,
        lr: float = 0.1,
        batch_size: int = 32,
        temp_path: str | Path = "temp",
        device: str = "cuda",
        device_ind: Sequence[int] | int = [0],
        validation_interval: int = 1,
        max_training_epoch: int = 2,
        momentum: float = 0.9,
        ensemble_size: int = 9,
        base_path_experiment: str | Path = "./experiments/",
        name_experiment: str = "esr_9",
        dimensional_finetune: bool = True,
        categorical_train: bool = False,
        base_path_to_dataset: str | Path = "./data/AffectNet",
        max_tuning_epoch: int = 1,
        diversify: bool = False,
        *,
        labels: str = "cross_entropy",
        seed: int = 1,
    ) -> None:
        self.lr = as_number("lr", lr, float, 1e-8, 100)
        self.batch_size = as_number("batch_size", batch_size, int, 1, 65_536)
        self.validation_interval = as_number(
            "validation_interval", validation_interval, int, 1, 10_000
        )
        self.max_training_epoch = as_number(
            "max_training_epoch", max_training_epoch, int, 1, 10_000
        )
        self.momentum = as_number("momentum", momentum, float, 0, 0.9999)
        self.ensemble_size = as_number("ensemble_size", ensemble_size, int, 1, 64)
        self.max_tuning_epoch = as_number("max_tuning_epoch", max_tuning_epoch, int, 1, 10_000)
        self.seed = as_number("seed", seed, int, 0, 2**31 - 1)
        for name, flag in (
            ("dimensional_finetune", dimensional_finetune),
            ("categorical_train", categorical_train),
            ("diversify", diversify),
        ):
            check_flag(name, flag)
        check_choice("labels", labels, LABEL_MODES)
        self.temp_path = as_folder("temp_path", temp_path)
        self.base_path_experiment = as_folder("base_path_experiment", base_path_experiment)
        self.base_path_to_dataset = as_path("base_path_to_dataset", base_path_to_dataset)
        self.name_experiment = as_file_name("name_experiment", name_experiment)
        self.device = _checked_device(device, device_ind)
        self.device_ind = [device_ind] if isinstance(device_ind, int) else list(device_ind)
        self.dimensional_finetune = dimensional_finetune
        self.categorical_train = categorical_train
        self.diversify = diversify
        self.labels = labels
        self.reset()

    def reset(self) -> None:
        """Forget the network; what was saved stays."""
        self.model: ESR | None = None
        self.ort_session: Model | None = None
        self.metadata: ModelMetadata | None = None
        self.fix_backbone = True
        self._trained = False

    def init_model(self, num_branches: int) -> None:
        """Make a new, untrained network with so many branches."""
        num_branches = as_number("num_branches", num_branches, int, 1, 64)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            esr = ESR(num_branches, self.diversify)
        self._take(esr, ModelMetadata(esr.name, num_branches, self.diversify, PUBLISHED_INPUT))
        self._trained = False

    def fit(self, verbose: bool = True) -> dict[str, Any]:
        """Train by the constructor's arguments; a fit that was killed goes on where it was.

        With ``categorical_train`` branch after branch from scratch: each new branch learns at
        ``lr``, base and older branches at a tenth of it, ``max_training_epoch`` epochs for the
        first and ``max_tuning_epoch`` for each later one; the best ensemble of each goes on. With
        ``dimensional_finetune`` then valence and arousal, from those weights, those loaded, or
        those in the experiment's folder: only the last layers, or all if :meth:`load` was told
        ``fix_backbone=False``.

        Weights come to ``<base_path_experiment>/<name_experiment>/trained_models``, curves and
        history beside them. Returns the figures of the last stage, as ``esr train --json``.

        Raises:
            OptionError: nothing is to be trained, or there are no weights to fine-tune.
            DataError: the data set is missing, empty or damaged.
        """
        check_flag("verbose", verbose)
        if not (self.categorical_train or self.dimensional_finetune):
            raise OptionError(
                "nothing to fit: categorical_train and dimensional_finetune are both False"
            )
        experiment = self.base_path_experiment / self.name_experiment
        figures: dict[str, Any] = {}
        if self.categorical_train:
            recipe = self._recipe("branch_by_branch", self.ensemble_size)
            figures = self._train("categorical", recipe, None, experiment, verbose)
        if self.dimensional_finetune:
            if not self._trained:
                self._load_experiment(experiment / "trained_models")
            start = self._network()
            recipe = self._recipe("affect", start.get_ensemble_size())
            figures = self._train("dimensional", recipe, start, experiment, verbose)
        return figures

    def eval(
        self, eval_type: str = "categorical", current_branch_on_training: int = 0
    ) -> dict[str, Any]:
        """Measure on the validation set.

        The keys ``valence_arousal_losses``, ``running_emotion_loss`` and
        ``running_emotion_corrects`` are the published ones, for branches 0 to
        ``current_branch_on_training``: a figure for each branch of the ensemble (0 for those after
        it) and, except for the emotion loss, one for the first of them together. All other keys
        describe the whole ensemble, see :class:`esr_core.evaluation.metrics.Report`.

        Raises:
            OptionError: an argument is out of range.
            DataError: the data set is missing, empty or damaged.
            ModelError: there is no network yet.
        """
        check_choice("eval_type", eval_type, ("categorical", "dimensional"))
        predict, metadata = self._predictor()
        size = metadata.branches
        current_branch_on_training = as_number(
            "current_branch_on_training", current_branch_on_training, int, 0, size - 1
        )
        data = open_split(self.base_path_to_dataset, "validation", eval_type)
        with bar("faces") as progress:
            task = progress.add_task("validation", total=len(data))
            outputs = predictions(
                predict,
                data,
                metadata.input,
                self.batch_size,
                lambda done: progress.update(task, completed=done),
            )
        report = measure(outputs, data.emotions, data.affect)
        asked = current_branch_on_training + 1
        together = measure(first_branches(outputs, asked), data.emotions, data.affect)
        assert together.branches is not None
        result: dict[str, Any] = {
            "valence_arousal_losses": [[], []],
            "running_emotion_loss": [0.0] * size,
            "running_emotion_corrects": [0] * (size + 1),
        }
        rest = [0] * (size - asked)
        if eval_type == "categorical":
            result["running_emotion_loss"] = [*together.branches.loss, *map(float, rest)]
            by_vote = round(together.accuracy_vote * together.n)
            result["running_emotion_corrects"] = [*together.branches.correct, *rest, by_vote]
        else:
            valence, arousal = zip(*together.branches.rmse)
            mean = first_branches(outputs, asked)[4].mean(axis=1)
            both = np.sqrt(((mean - data.affect) ** 2).mean(axis=0))
            result["valence_arousal_losses"] = [
                [*valence, *map(float, rest), float(both[0])],
                [*arousal, *map(float, rest), float(both[1])],
            ]
        return {**result, **report.summary()}

    def infer(self, input_batch: Any) -> tuple[list[Category], NDArray[np.float32]]:
        """Say what faces show.

        input_batch: what :func:`esr_core.media.image.as_batch` takes: one framed face or several,
        as Image, NumPy array or tensor, or a list of those. Returns a category per face, and (n, 2)
        valence and arousal, the mean over the branches as it comes, not kept in [-1, 1].

        Raises:
            ImageError: an image of another shape or type, or with NaN.
            ModelError: there is no network yet.
        """
        predict, metadata = self._predictor()
        batch = as_batch(input_batch, metadata.input)
        if len(batch) == 0:
            return [], np.zeros((0, 2), np.float32)
        probabilities, _, _, _, affect = predict(batch)
        categories = []
        for row in probabilities:
            likeliest = int(row.argmax())
            categories.append(
                Category(likeliest, float(row[likeliest]), LABELS[likeliest].capitalize(), row)
            )
        return categories, affect.mean(axis=1)

    def save(
        self,
        state_dicts: Sequence[dict[str, Tensor]],
        base_path_to_save_model: str | Path,
        verbose: bool = True,
    ) -> None:
        """Write weights, as ``learner.model.to_state_dict()`` gives them, or what is optimized.

        A folder in the published form: ``Net-Base-Shared_Representations.pt``,
        ``Net-Branch_1.pt`` … and ``<name_experiment>.json``; after :meth:`optimize`
        ``<name_experiment>.onnx`` and the JSON file.

        Raises:
            ModelError: there is no network yet, or these are not weights of this one.
        """
        check_flag("verbose", verbose)
        folder = as_folder("base_path_to_save_model", base_path_to_save_model)
        if self.ort_session:
            file = self.name_experiment + ".onnx"
            if not self.ort_session.path.is_file():
                raise ModelError(f"{self.ort_session.path} is gone; load() weights and optimize()")
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / file) as partial:
                shutil.copyfile(self.ort_session.path, partial)
            metadata = self.ort_session.metadata
            checkpoint.write_description(folder, metadata, self.name_experiment, file)
        else:
            if not isinstance(state_dicts, (list, tuple)) or not state_dicts:
                raise OptionError(
                    "state_dicts must be a list of the base's and the branches' weights, as "
                    f"model.to_state_dict() gives it, but is a {type(state_dicts).__name__}"
                )
            self._network()
            assert self.metadata is not None
            branches = len(state_dicts) - 1
            metadata = self.metadata
            if branches != metadata.branches:
                name = f"ESR{'*' if self.diversify else ''}-{branches}"
                metadata = replace(metadata, name=name, branches=branches)
            checkpoint.save_weights(folder, list(state_dicts), metadata, self.name_experiment)
        if verbose:
            print(f"saved {metadata.name} in {folder}")

    def load(
        self,
        ensemble_size: int = 9,
        path_to_saved_network: str | Path = "./trained_models/esr_9",
        file_name_base_network: str = checkpoint.BASE_FILE,
        file_name_conv_branch: str = checkpoint.BRANCH_FILE,
        fix_backbone: bool = True,
    ) -> None:
        """Read what :meth:`save`, or that of the published learner, wrote.

        ensemble_size: so many branches of those in the folder. fix_backbone: whether
        :meth:`fit` then trains only the last layers of valence and arousal.

        Raises:
            OptionError: an argument is out of range.
            ModelError: a file is missing, damaged, or of another network.
        """
        ensemble_size = as_number("ensemble_size", ensemble_size, int, 1, 64)
        check_flag("fix_backbone", fix_backbone)
        base_file = as_file_name("file_name_base_network", file_name_base_network)
        branch_file = as_file_name("file_name_conv_branch", file_name_conv_branch)
        if branch_file.count("{}") != 1 or branch_file.count("{") + branch_file.count("}") != 2:
            raise OptionError(
                "file_name_conv_branch must hold {} once, where the number of the branch stands, "
                f"but got {branch_file!r}"
            )
        folder = as_path("path_to_saved_network", path_to_saved_network)
        description = checkpoint.find_description(folder, self.name_experiment)
        if checkpoint.read_description(description)["optimized"]:
            file = description.with_suffix(".onnx")
            session = load_model(file, self._provider)
            self._check_kind(session.metadata, file)
            if session.metadata.branches != ensemble_size:
                raise ModelError(
                    f"{file}: has {session.metadata.branches} branches, not {ensemble_size}"
                )
            self.model, self.ort_session, self.metadata = None, session, session.metadata
        else:
            esr, metadata = checkpoint.load(
                folder, self.name_experiment, ensemble_size, base_file, branch_file
            )
            self._check_kind(metadata, folder)
            self._take(esr, metadata)
        self.fix_backbone = fix_backbone
        self._trained = True

    def optimize(self, do_constant_folding: bool = False) -> None:
        """Write ``<temp_path>/<name_experiment>.onnx``; infer and eval use it from now on.

        Raises:
            ModelError: there is no network yet, or it is optimized already.
        """
        from esr_core.network.onnx_export import export_fp32  # onnx takes a second to import

        check_flag("do_constant_folding", do_constant_folding)
        if self.ort_session:
            raise ModelError(f"already optimized, as {self.ort_session.path}; load() weights first")
        esr = self._network()
        assert self.metadata is not None
        self.temp_path.mkdir(parents=True, exist_ok=True)
        path = self.temp_path / (self.name_experiment + ".onnx")
        export_fp32(esr, self.metadata, path, do_constant_folding)
        self.ort_session = load_model(path, self._provider)

    def download(
        self, path: str | Path | None = None, mode: str = "data", url: str = OPENDR
    ) -> str:
        """Fetch the published learner's files into ``path`` (default: temp_path).

        mode: ``data`` (a small AffectNet), ``pretrained`` (ESR-9, not for commercial use),
        ``demo_image`` or ``demo_video``. A download that broke goes on; what is there stays.
        Returns where the folder or file lies.

        Raises:
            OptionError: an unknown mode.
            DownloadError: the server cannot be reached, or the archive is damaged or dangerous.
        """
        check_choice("mode", mode, _MODES)
        root = self.temp_path if path is None else as_folder("path", path)
        return str(get(CATALOGUE[mode], root, url))

    # What the methods above have in common.

    @property
    def _provider(self) -> str:
        return "cuda" if self.device.startswith("cuda") else "cpu"

    def _take(self, esr: ESR, metadata: ModelMetadata) -> None:
        self.model, self.ort_session, self.metadata = esr.to(self.device), None, metadata

    def _network(self) -> ESR:
        if self.model is None:
            what = "only an optimized one" if self.ort_session else "none"
            raise ModelError(
                f"a network with weights is needed, but there is {what}: "
                "call init_model(), load() or fit() first"
            )
        return self.model

    def _predictor(self) -> tuple[Predictor, ModelMetadata]:
        if self.ort_session:
            return self.ort_session.predict_branches, self.ort_session.metadata
        esr = self._network()
        assert self.metadata is not None
        return torch_predictor(esr.eval(), self.metadata.temperature), self.metadata

    def _check_kind(self, metadata: ModelMetadata, where: Path) -> None:
        if metadata.diversified != self.diversify:
            raise ModelError(
                f"{where}: holds an {metadata.name}, which needs diversify={metadata.diversified}, "
                f"but this learner has diversify={self.diversify}"
            )

    def _recipe(self, method: str, branches: int) -> TrainingConfig:
        return TrainingConfig(
            method=method,
            branches=branches,
            diversified=self.diversify,
            stages=(ResizeStage(PUBLISHED_INPUT.size_px, self.max_training_epoch),),
            tuning_epochs=self.max_tuning_epoch,
            batch_size=self.batch_size,
            learning_rate=self.lr,
            schedule="step",
            momentum=self.momentum,
            weight_decay=0.0,
            average=0.0,
            reduction="sum",
            labels=self.labels,
            diversity_weight=1.0,
            heads_only=method == "affect" and self.fix_backbone,
            precision="bf16" if self.device.startswith("cuda") else "fp32",
            validation_interval=self.validation_interval,
            seed=self.seed,
        )

    def _train(
        self, kind: str, recipe: TrainingConfig, start: ESR | None, experiment: Path, verbose: bool
    ) -> dict[str, Any]:
        training: FaceDataset = open_split(self.base_path_to_dataset, "training", kind, self.labels)
        validation: FaceDataset = open_split(self.base_path_to_dataset, "validation", kind)
        with training_bar(recipe.batch_size, verbose and leads()) as show:
            arguments = (training, validation, recipe, experiment / kind, show, self.device, start)
            try:
                report = train(*arguments, name=self.name_experiment)
            except AnotherTraining as other:
                print(f"fit: begins anew, since {other}", file=sys.stderr)
                report = train(*arguments, name=self.name_experiment, fresh=True)
        self._take(*checkpoint.load(experiment / kind, self.name_experiment))
        self._trained = True
        esr, metadata = self._network(), self.metadata
        assert metadata is not None
        if leads():
            checkpoint.save(experiment / "trained_models", esr, metadata, self.name_experiment)
        return report.summary()

    def _load_experiment(self, folder: Path) -> None:
        if not (folder / f"{self.name_experiment}.json").is_file():
            raise OptionError(
                f"dimensional_finetune needs trained weights, but {folder} has none: load() some, "
                "or train them with categorical_train=True"
            )
        self.load(self.ensemble_size, folder)


def _checked_device(device: Any, indices: Any) -> str:
    """Return the device in torch's form: ``cpu`` or ``cuda:0``."""
    if isinstance(indices, int) and not isinstance(indices, bool):
        indices = [indices]
    if not isinstance(indices, (list, tuple)) or not indices:
        raise OptionError(f"device_ind must be a list of GPU indices, but got {indices!r}")
    for index in indices:
        as_number("device_ind", index, int, 0, 1023)
    check_choice("device", device, ("cpu", "cuda"))
    if device == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise OptionError(
            "device must be 'cpu' here, but got 'cuda': no CUDA device is available "
            f"(torch {torch.__version__})"
        )
    count = torch.cuda.device_count()
    for index in indices:
        as_number("device_ind", index, int, 0, count - 1)
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    if len(indices) > 1 and "LOCAL_RANK" not in os.environ:
        raise OptionError(
            f"device_ind must name one GPU, but got {list(indices)}; for several start the script "
            "with torchrun, one process per GPU"
        )
    return f"cuda:{indices[rank % len(indices)]}"
