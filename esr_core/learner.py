"""The learner: train, evaluate, run, save and optimize an ESR.

It has the constructor, the methods and the file formats of OpenDR's ``FacialEmotionLearner``, so
scripts written for that one work with it.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from esr_core.atomic_write import replacing
from esr_core.data.dataset import open_evaluation, open_splits
from esr_core.data.faces import LABEL_MODES, FaceDataset
from esr_core.download import CATALOGUE, OPENDR, get
from esr_core.emotions import LABELS
from esr_core.errors import AnotherTraining, ImageError, ModelError, OptionError
from esr_core.evaluation.metrics import (
    Predictor,
    first_branches,
    measure,
    predict_split,
    torch_predictor,
)
from esr_core.inference.metadata import PUBLISHED_INPUT, ModelMetadata
from esr_core.inference.onnx_model import Model, load_model
from esr_core.media.image import Image, as_batch
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.options import as_choice, as_file_name, as_flag, as_folder, as_number, as_path
from esr_core.perception.preprocessing import crop
from esr_core.training.config import AUTO, ResizeStage, TrainingConfig
from esr_core.training.device import require_cuda
from esr_core.training.distributed import leads
from esr_core.training.progress import training_bar
from esr_core.training.trainer import train


@dataclass(frozen=True)
class Category:
    """The emotion of one face."""

    prediction: int  # index into LABELS
    confidence: float  # its probability, the mean over the branches
    description: str  # its name
    probabilities: NDArray[np.float32]  # (8,), sum 1

    @property
    def data(self) -> int:
        """The prediction, under the name of OpenDR's targets."""
        return self.prediction


class FacialEmotionLearner:
    """An ESR-n, or with ``diversify`` an ESR*-n, with its training, evaluation and inference.

    The arguments are those of the published learner. ``base_path_to_dataset`` is a folder with
    faces of AffectNet (see :func:`esr_core.datasets.pre_process_affect_net`), FER+ or own faces;
    ``labels`` selects how votes become targets.
    :class:`esr_core.training.config.TrainingConfig` and ``esr train`` have more options.

    Raises:
        OptionError: (a ValueError) an argument, of the methods too, is wrong or out of range.
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
        count = partial(as_number, kind=int, low=1, high=10_000)
        self.validation_interval = count("validation_interval", validation_interval)
        self.max_training_epoch = count("max_training_epoch", max_training_epoch)
        self.max_tuning_epoch = count("max_tuning_epoch", max_tuning_epoch)
        self.momentum = as_number("momentum", momentum, float, 0, 0.9999)
        self.ensemble_size = as_number("ensemble_size", ensemble_size, int, 1, 64)
        self.seed = as_number("seed", seed, int, 0, 2**31 - 1)
        self.dimensional_finetune = as_flag("dimensional_finetune", dimensional_finetune)
        self.categorical_train = as_flag("categorical_train", categorical_train)
        self.diversify = as_flag("diversify", diversify)
        self.labels = as_choice("labels", labels, LABEL_MODES)
        self.temp_path = as_folder("temp_path", temp_path)
        self.base_path_experiment = as_folder("base_path_experiment", base_path_experiment)
        self.base_path_to_dataset = as_path("base_path_to_dataset", base_path_to_dataset)
        self.name_experiment = as_file_name("name_experiment", name_experiment)
        self.device, self.device_ind = _checked_device(device, device_ind)
        self.reset()

    def reset(self) -> None:
        """Discard the network; saved files stay."""
        self.model: ESR | None = None
        self.ort_session: Model | None = None
        self.metadata: ModelMetadata | None = None
        self.fix_backbone = True
        self._trained = False

    def init_model(self, num_branches: int) -> None:
        """Create a new, untrained network of ``num_branches`` branches."""
        num_branches = as_number("num_branches", num_branches, int, 1, 64)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            esr = ESR(num_branches, self.diversify)
        metadata = ModelMetadata(esr.name, num_branches, self.diversify, PUBLISHED_INPUT)
        self._set(esr, None, metadata, trained=False)

    def fit(self, verbose: bool = True) -> dict[str, Any]:
        """Train as the constructor's arguments select; an interrupted fit is resumed.

        ``categorical_train``: train branch after branch from scratch. Each new branch learns at
        ``lr``, base and older branches at a tenth of it, for ``max_training_epoch`` epochs (first
        branch) or ``max_tuning_epoch`` epochs (each later one); each stage continues from the best
        ensemble. ``dimensional_finetune``: then train valence and arousal, starting from those
        weights, the loaded ones, or those in the experiment's folder: only the last layers, or
        all layers after ``load(fix_backbone=False)``.

        Weights are written to ``<base_path_experiment>/<name_experiment>/trained_models``, curves
        and history beside them. Returns the figures of the last stage, as ``esr train --json``.

        Raises:
            OptionError: no stage is selected, or there are no weights to fine-tune.
            DataError: the data set is missing, empty or damaged.
        """
        as_flag("verbose", verbose)
        if not (self.categorical_train or self.dimensional_finetune):
            raise OptionError(
                "nothing to fit: categorical_train and dimensional_finetune are both False"
            )
        figures: dict[str, Any] = {}
        if self.categorical_train:
            figures = self._train("categorical", None, verbose)
        if self.dimensional_finetune:
            if not self._trained:
                folder = self.base_path_experiment / self.name_experiment / "trained_models"
                if not (folder / f"{self.name_experiment}.json").is_file():
                    raise OptionError(
                        f"dimensional_finetune needs trained weights, but {folder} has none: "
                        "load() some, or train them with categorical_train=True"
                    )
                self.load(self.ensemble_size, folder)
            figures = self._train("dimensional", self._network()[0], verbose)
        return figures

    def eval(
        self, eval_type: str = "categorical", current_branch_on_training: int = 0
    ) -> dict[str, Any]:
        """Evaluate on the validation set.

        The keys ``valence_arousal_losses``, ``running_emotion_loss`` and
        ``running_emotion_corrects`` are the published ones, for branches 0 to
        ``current_branch_on_training``: one figure per branch of the ensemble (0 for later ones)
        and, except for the emotion loss, one for the ensemble of these branches. All other keys
        describe the whole ensemble, see
        :class:`esr_core.evaluation.metrics.EvaluationReport`.

        Raises:
            DataError: the data set is missing, empty or damaged.
            ModelError: there is no network yet.
        """
        as_choice("eval_type", eval_type, ("categorical", "dimensional"))
        predict, metadata = self._predictor()
        current = as_number(
            "current_branch_on_training", current_branch_on_training, int, 0, metadata.branches - 1
        )
        data = open_evaluation(self.base_path_to_dataset, metadata, eval_type)
        outputs = predict_split(predict, data, metadata.input, "validation", self.batch_size)
        report = measure(outputs, data.emotions, data.affect)
        return {**_published_figures(outputs, data, eval_type, current + 1), **report.summary()}

    def infer(
        self, input_batch: Any, boxes: Any = None
    ) -> tuple[list[Category], NDArray[np.float32]]:
        """Return the emotions of faces.

        Without ``boxes``, input_batch holds framed faces in any form that
        :func:`esr_core.media.image.as_batch` takes: one or several images, arrays or tensors. With
        ``boxes``, (n, 4) x1, y1, x2, y2 in pixels as the detector returns them, it is one uint8
        image, and each face is cropped as in the network's training (``InputSpec``).

        Returns a category per face, and (n, 2) valence and arousal, the mean over the branches, not
        clipped to [-1, 1].

        Raises:
            ImageError: an image or boxes of another shape or type, or values that are not finite.
            ModelError: there is no network yet.
        """
        predict, metadata = self._predictor()
        if boxes is None:
            batch = as_batch(input_batch, metadata.input)
        else:
            image = input_batch if isinstance(input_batch, Image) else Image(input_batch)
            rgb, array = image.rgb(), np.asarray(boxes, np.float32)
            if rgb.dtype != np.uint8 or (array.size and (array.ndim != 2 or array.shape[1] != 4)):
                raise ImageError(
                    "boxes must be (n, 4) x1, y1, x2, y2 and the image uint8, "
                    f"but got {array.shape} and {rgb.dtype}"
                )
            batch = crop(rgb, array.reshape(-1, 4), metadata.input)
        if len(batch) == 0:
            return [], np.zeros((0, 2), np.float32)
        probabilities, _, _, _, affect = predict(batch)
        likeliest = probabilities.argmax(axis=1).tolist()
        categories = [
            Category(label, float(row[label]), LABELS[label].capitalize(), row)
            for label, row in zip(likeliest, probabilities)
        ]
        return categories, affect.mean(axis=1)

    def save(
        self,
        state_dicts: Sequence[dict[str, Tensor]],
        base_path_to_save_model: str | Path,
        verbose: bool = True,
    ) -> None:
        """Write weights (``learner.model.to_state_dict()``), or the optimized network.

        The folder has the published form: ``Net-Base-Shared_Representations.pt``,
        ``Net-Branch_1.pt`` … and ``<name_experiment>.json``; after :meth:`optimize`
        ``<name_experiment>.onnx`` and the JSON file.

        Raises:
            ModelError: there is no network yet, or the weights are those of another one.
        """
        as_flag("verbose", verbose)
        folder = as_folder("base_path_to_save_model", base_path_to_save_model)
        if self.ort_session:
            metadata, source = self.ort_session.metadata, self.ort_session.path
            if not source.is_file():
                raise ModelError(f"{source} is missing; load() weights and optimize()")
            file = self.name_experiment + ".onnx"
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / file) as target:
                shutil.copyfile(source, target)
            checkpoint.write_description(folder, metadata, self.name_experiment, file)
        else:
            if not isinstance(state_dicts, (list, tuple)) or not state_dicts:
                kind = f"{'a' if state_dicts else 'an empty'} {type(state_dicts).__name__}"
                raise OptionError(
                    "state_dicts must be a list of the base's and the branches' weights, as "
                    f"model.to_state_dict() returns it, but is {kind}"
                )
            metadata, branches = self._network()[1], len(state_dicts) - 1
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
        """Read a folder that :meth:`save`, or that of the published learner, wrote.

        ensemble_size: number of branches to load. fix_backbone: let :meth:`fit` train only the last
        layers of valence and arousal.

        Raises:
            ModelError: a file is missing, damaged, or of another network.
        """
        ensemble_size = as_number("ensemble_size", ensemble_size, int, 1, 64)
        as_flag("fix_backbone", fix_backbone)
        base_file = as_file_name("file_name_base_network", file_name_base_network)
        branch_file = as_file_name("file_name_conv_branch", file_name_conv_branch)
        if branch_file.count("{}") != 1 or branch_file.count("{") + branch_file.count("}") != 2:
            raise OptionError(
                "file_name_conv_branch must hold {} once, in place of the branch's number, "
                f"but got {branch_file!r}"
            )
        folder = as_path("path_to_saved_network", path_to_saved_network)
        description = checkpoint.find_description(folder, self.name_experiment)
        path, esr, session = folder, None, None
        content = checkpoint.read_description(description)
        if content["optimized"]:
            path = description.with_suffix(".onnx")
            session = load_model(path, self.device.split(":")[0])
            checkpoint.check_digest(content, path)
            metadata = session.metadata
        else:
            esr, metadata = checkpoint.load(
                folder, self.name_experiment, ensemble_size, base_file, branch_file
            )
        if metadata.diversified != self.diversify:
            raise ModelError(
                f"{path}: holds an {metadata.name}, which needs diversify={metadata.diversified}, "
                f"but this learner has diversify={self.diversify}"
            )
        if metadata.branches != ensemble_size:
            raise ModelError(f"{path}: has {metadata.branches} branches, not {ensemble_size}")
        self._set(esr, session, metadata, trained=True)
        self.fix_backbone = fix_backbone

    def optimize(self, do_constant_folding: bool = False) -> None:
        """Write ``<temp_path>/<name_experiment>.onnx``, and use it in infer and eval from now on.

        Raises:
            ModelError: there is no network yet, or it is optimized already.
        """
        from esr_core.network.onnx_export import export_fp32  # onnx takes a second to import

        as_flag("do_constant_folding", do_constant_folding)
        if self.ort_session:
            raise ModelError(f"already optimized, as {self.ort_session.path}; load() weights first")
        esr, metadata = self._network()
        self.temp_path.mkdir(parents=True, exist_ok=True)
        path = self.temp_path / (self.name_experiment + ".onnx")
        export_fp32(esr, metadata, path, do_constant_folding)
        self.ort_session = load_model(path, self.device.split(":")[0])

    def download(
        self, path: str | Path | None = None, mode: str = "data", url: str = OPENDR
    ) -> str:
        """Download the published learner's files into ``path`` (default: temp_path).

        mode: ``data`` (a small AffectNet), ``pretrained`` (ESR-9, not for commercial use),
        ``demo_image`` or ``demo_video``. Existing files are kept. Returns the path of the folder
        or file.

        Raises:
            DownloadError: the server is unreachable, or the archive is damaged or unsafe.
        """
        as_choice("mode", mode, tuple(CATALOGUE))
        root = self.temp_path if path is None else as_folder("path", path)
        return str(get(CATALOGUE[mode], root, url))

    def _set(
        self, esr: ESR | None, session: Model | None, metadata: ModelMetadata, trained: bool
    ) -> None:
        self.model = esr.to(self.device) if esr else None
        self.ort_session, self.metadata, self._trained = session, metadata, trained

    def _network(self) -> tuple[ESR, ModelMetadata]:
        if self.model is None or self.metadata is None:
            present = "only an optimized one" if self.ort_session else "none"
            raise ModelError(
                f"a network with weights is needed, but there is {present}: "
                "call init_model(), load() or fit() first"
            )
        return self.model, self.metadata

    def _predictor(self) -> tuple[Predictor, ModelMetadata]:
        if self.ort_session:
            return self.ort_session.predict_branches, self.ort_session.metadata
        esr, metadata = self._network()
        return torch_predictor(esr.eval(), metadata), metadata

    def _train(self, kind: str, start: ESR | None, verbose: bool) -> dict[str, Any]:
        """Train one stage, ``categorical`` or ``dimensional``, from ``start`` or from scratch."""
        experiment = self.base_path_experiment / self.name_experiment
        spec = self.metadata.input if start and self.metadata else PUBLISHED_INPUT
        config = TrainingConfig(
            method="affect" if kind == "dimensional" else "branch_by_branch",
            branches=start.get_ensemble_size() if start else self.ensemble_size,
            diversified=self.diversify,
            stages=(ResizeStage(spec.size_px, self.max_training_epoch),),
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
            heads_only=kind == "dimensional" and self.fix_backbone,
            precision=AUTO if self.device.startswith("cuda") else "fp32",
            validation_interval=self.validation_interval,
            seed=self.seed,
        )
        training, validation = open_splits(self.base_path_to_dataset, spec, kind, self.labels)
        with training_bar(config.batch_size, verbose and leads()) as show:
            arguments = (training, validation, config, experiment / kind, show, self.device, start)
            try:
                report = train(*arguments, name=self.name_experiment)
            except AnotherTraining as error:
                print(f"fit: starts from the beginning, because {error}", file=sys.stderr)
                report = train(*arguments, name=self.name_experiment, fresh=True)
        esr, metadata = checkpoint.load(experiment / kind, self.name_experiment)
        self._set(esr, None, metadata, trained=True)
        if leads():
            checkpoint.save(experiment / "trained_models", esr, metadata, self.name_experiment)
        return report.summary()


def _published_figures(
    outputs: Sequence[NDArray[Any]], data: FaceDataset, eval_type: str, count: int
) -> dict[str, Any]:
    """Return the published learner's figures of the first ``count`` branches."""
    size = outputs[2].shape[1]
    evaluated = first_branches(outputs, count)
    report = measure(evaluated, data.emotions, data.affect)
    assert report.branches is not None
    rest = [0.0] * (size - count)
    if eval_type == "categorical":
        votes = round(report.accuracy_vote * report.n)
        return {
            "valence_arousal_losses": [[], []],
            "running_emotion_loss": [*report.branches.loss, *rest],
            "running_emotion_corrects": [*report.branches.correct, *map(int, rest), votes],
        }
    error = evaluated[4].mean(axis=1) - data.affect
    means = np.sqrt((error**2).mean(axis=0)).tolist()
    each = zip(zip(*report.branches.rmse), means)
    return {
        "valence_arousal_losses": [[*branches, *rest, mean] for branches, mean in each],
        "running_emotion_loss": [0.0] * size,
        "running_emotion_corrects": [0] * (size + 1),
    }


def _checked_device(device: Any, indices: Any) -> tuple[str, list[int]]:
    """Return the device in torch's form, ``cpu`` or ``cuda:0``, and the GPU indices."""
    indices = [indices] if isinstance(indices, int) else indices
    if not isinstance(indices, (list, tuple)) or not indices:
        raise OptionError(f"device_ind must be a list of GPU indices, but got {indices!r}")
    as_choice("device", device, ("cpu", "cuda"))
    if device == "cuda":
        require_cuda(device)
    count = torch.cuda.device_count() if device == "cuda" else 1024
    indices = [as_number("device_ind", index, int, 0, count - 1) for index in indices]
    if device == "cpu":
        return "cpu", indices
    if len(indices) > 1 and "LOCAL_RANK" not in os.environ:
        raise OptionError(
            f"device_ind must name one GPU, but got {indices}; for several start the script "
            "with torchrun, one process per GPU"
        )
    return f"cuda:{indices[int(os.environ.get('LOCAL_RANK', '0')) % len(indices)]}", indices
