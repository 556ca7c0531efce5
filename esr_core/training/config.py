"""The configuration of a training.

The flags of ``esr train``, its YAML files and the record in a network's metadata are made from
:class:`TrainingConfig`.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from esr_core.data.faces import LABEL_MODES
from esr_core.errors import OptionError
from esr_core.options import check, option

#: The smallest input that leaves a pixel to the last convolutions, and one that leaves more.
SMALLEST_PX, TWO_PIXELS_PX = 54, 62
LARGEST_PX = 1024
#: Losses that keep the attention of the branches different, see :mod:`.losses`.
DIVERSITY = ("none", "direct", "logdet")
#: The precision that is fast on the device, see :mod:`.device`.
AUTO = "auto"


@dataclass(frozen=True)
class ResizeStage:
    """A number of epochs at one input size, written ``56x4``."""

    size_px: int
    epochs: int

    @classmethod
    def parse(cls, text: str) -> ResizeStage:
        """Parse a text such as ``56x4``.

        Raises:
            OptionError: the text is not SIZExEPOCHS, or out of bounds.
        """
        match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", str(text))
        size_px, epochs = map(int, match.groups()) if match else (0, 0)
        if not SMALLEST_PX <= size_px <= LARGEST_PX or not 1 <= epochs <= 10_000:
            raise OptionError(
                f"a stage must be SIZExEPOCHS such as 56x4, with a size from {SMALLEST_PX} to "
                f"{LARGEST_PX} px and 1 to 10000 epochs, but got {text!r}"
            )
        return cls(size_px, epochs)

    def __str__(self) -> str:
        return f"{self.size_px}x{self.epochs}"


@dataclass(frozen=True)
class Phase:
    """A part of a training with its own optimizer; the next one starts from its best weights."""

    name: str
    branches: int  # of the ensemble during the phase
    sizes: tuple[int, ...]  # px, one per epoch
    learns: str  # emotions, affect, or both
    newest: bool = False  # the newest branch has the full learning rate, all else a smaller one
    heads_only: bool = False  # only the last layers are trained


@dataclass(frozen=True)
class Augmentation:
    """Strength of the augmentation; ranges are symmetric and uniform unless stated otherwise."""

    rotation_deg: float = option(15.0, "rotation, degrees", (0, 180))
    scale: float = option(0.15, "relative change of size", (0, 0.9))
    shift: float = option(0.08, "shift, in widths of the image", (0, 1))
    flip: float = option(0.5, "probability of a mirror image", (0, 1))
    gain: float = option(0.4, "relative change of contrast", (0, 1))
    offset: float = option(0.15, "change of brightness; white is 1", (0, 1))
    blur: float = option(0.3, "probability of a Gaussian blur", (0, 1))
    blur_width: float = option(0.03, "its largest standard deviation, in widths", (0, 0.5))
    compress: float = option(0.2, "probability of JPEG of quality 10 to 50", (0, 1))
    erase: float = option(0.3, "probability of a grey rectangle", (0, 1))
    mixup: float = option(0.0, "alpha of mixup (Zhang et al., 2018); 0: none", (0, 10))

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class TrainingConfig:
    """Options of a training; ``configs/`` has those of the published weights."""

    method: str = option(
        "joint",
        "joint: all branches together; branch_by_branch: one after the other (Siqueira et al., "
        "2020); affect: only valence and arousal",
        choices=("joint", "branch_by_branch", "affect"),
    )
    branches: int = option(4, "branches of the ensemble", (1, 64))
    diversified: bool = option(False, "ESR*: attention after every layer")
    stages: tuple[ResizeStage, ...] = (ResizeStage(56, 3), ResizeStage(72, 1), ResizeStage(96, 2))
    new_branches: str = option(
        "random",
        "joint: branches that the start lacks begin with random weights, or as copies of its first",
        choices=("random", "copy"),
    )
    tuning_epochs: int = option(1, "branch_by_branch: epochs of later branches", (1, 10_000))
    batch_size: int = option(64, "faces per step, over all processes", (1, 65_536))
    learning_rate: float = option(0.05, "peak of the schedule", (1e-8, 100))
    older_rate: float = option(0.1, "branch_by_branch: share of it for older parts", (0, 1))
    base_rate: float = option(1.0, "share of it for the shared base; 0: frozen", (0, 1))
    schedule: str = option(
        "one_cycle",
        "one_cycle: rise, then cosine to 0 (Smith and Topin, 2018); step: half every 10 epochs",
        choices=("one_cycle", "step", "constant"),
    )
    warm_up: float = option(0.1, "one_cycle: share of the steps that rise", (0, 0.9))
    momentum: float = option(0.9, "of SGD (Nesterov)", (0, 0.9999))
    weight_decay: float = option(5e-4, "of convolutions and linear layers", (0, 1))
    average: float = option(0.995, "decay per step of the weights' EMA; 0: none", (0, 0.99999))
    start_share: float = option(
        0.0,
        "joint, affect: share of the start's weights in those that are validated and saved "
        "(Wortsman et al., 2022)",
        (0, 0.99),
    )
    reduction: str = option(
        "mean",
        "over the losses of the branches; balanced: their sum for the branches, their mean for the "
        "base, so that a branch learns as fast as in an ensemble of one",
        choices=("mean", "sum", "balanced"),
    )
    labels: str = option("cross_entropy", "targets from the votes of FER+", choices=LABEL_MODES)
    teacher_weight: float = option(0.5, "share of the teachers' outputs in the targets", (0, 1))
    own_labels: bool = option(False, "labels: probability draws for each branch on its own")
    bag: float = option(
        1.0,
        "share of the faces, drawn for each branch, that it learns from (Breiman, 1996)",
        (0.1, 1),
    )
    dropout: float = option(
        0.0,
        "of channels of the shared features, drawn for each branch (Tompson et al., 2015)",
        (0, 0.9),
    )
    balance: float = option(
        0.0,
        "tau of the logit-adjusted loss of the last branch (Menon et al., 2021); 0 of the first, "
        "between them in equal steps",
        (0, 2),
    )
    repeat_rare: float = option(
        0.0, "emotions with a smaller share are oversampled (Gupta et al., 2019); 0: none", (0, 1)
    )
    diversity: str = option("logdet", "ESR*: loss that separates branches", choices=DIVERSITY)
    diversity_weight: float = option(0.1, "its weight, spatial and channel each", (0, 1000))
    gamma: float = option(10.0, "of the similarity of two branches", (1e-6, 1e6))
    precision: str = option(
        AUTO, "auto: bf16 if the device has instructions for it", choices=(AUTO, "bf16", "fp32")
    )
    heads_only: bool = option(False, "affect: train only the last layers")
    validation_interval: int = option(1, "epochs between validations", (1, 10_000))
    validate_on: int = option(1000, "images to validate on before the last stage", (1, 10**9))
    save_every_steps: int = option(500, "steps between saves within an epoch", (1, 10**9))
    seed: int = option(1, "of all random numbers", (0, 2**31 - 1))
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check(self)
        if self.own_labels and self.labels != "probability":
            raise OptionError(f"own_labels needs labels probability, but labels is {self.labels}")
        if self.start_share and self.method == "branch_by_branch":
            raise OptionError("start_share is for the methods joint and affect")
        if not self.stages or not all(isinstance(stage, ResizeStage) for stage in self.stages):
            raise OptionError("stages must hold one stage or more, such as 56x4")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The input size of each epoch, px."""
        return tuple(stage.size_px for stage in self.stages for _ in range(stage.epochs))

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases of this training, in order."""
        if self.method == "joint":
            return (Phase("joint", self.branches, self.sizes, "both"),)
        if self.method == "affect":
            heads = self.heads_only
            return (Phase("affect", self.branches, self.sizes, "affect", heads_only=heads),)
        later = (self.sizes[-1],) * self.tuning_epochs
        return tuple(
            Phase(f"branch {k}", k, self.sizes if k == 1 else later, "emotions", newest=k > 1)
            for k in range(1, self.branches + 1)
        )

    def rate(self, step: int, steps: int, epoch: int) -> float:
        """Return the learning rate at a step of a phase; step and epoch count from 0."""
        share, done = 1.0, step / steps
        if self.schedule == "step":
            share = 0.5 ** (epoch // 10)
        elif self.schedule == "one_cycle" and done < self.warm_up:
            share = 0.1 + 0.9 * done / self.warm_up
        elif self.schedule == "one_cycle":
            share = 0.5 * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up)))
        return self.learning_rate * share

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in a YAML file and in the metadata."""
        return {**asdict(self), "stages": [str(stage) for stage in self.stages]}


def from_dict(values: dict[str, Any], where: str) -> TrainingConfig:
    """Make a config from plain values and defaults; ``where`` begins the text of errors.

    Raises:
        OptionError: a name is unknown, or a value has the wrong type or is out of range.
    """
    views = values.get("augmentation", {})
    if not isinstance(views, dict):
        raise OptionError(f"{where}: augmentation must have options of its own, but is {views!r}")
    values = _checked(TrainingConfig, values, where)
    if "stages" in values:
        if not isinstance(values["stages"], list):
            raise OptionError(f"{where}: stages must be a list such as [56x4, 96x2]")
        values["stages"] = tuple(map(ResizeStage.parse, values["stages"]))
    views = _checked(Augmentation, views, f"{where}: augmentation")
    return TrainingConfig(**{**values, "augmentation": Augmentation(**views)})


def _checked(cls: Any, values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the values of a class's options, with numbers that YAML 1.1 reads as text."""
    defaults = {f.name: f.default for f in fields(cls)}
    unknown = sorted(str(name) for name in values if name not in defaults)
    if unknown:
        raise OptionError(
            f"{where}: unknown option {', '.join(unknown)}; known are {', '.join(sorted(defaults))}"
        )
    values = dict(values)
    for name, value in values.items():
        if type(defaults[name]) is float and isinstance(value, str):
            with suppress(ValueError):  # it requires 5.0e-2, and 5e-2 is text
                values[name] = float(value)
    return values


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file of options.

    Raises:
        OptionError: the file is missing, or not such a file.
    """
    import yaml  # only training needs it

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise OptionError(f"{path}: not a readable YAML file ({reason})") from error
    if not isinstance(values, dict):
        raise OptionError(f"{path}: must hold 'name: value' lines, but holds {values!r}")
    return values
