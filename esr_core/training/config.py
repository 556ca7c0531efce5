"""Everything that decides how a training goes, declared once.

The command line, the YAML files and the metadata of a network are made from
:class:`TrainingConfig`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from esr_core.data.ferplus import LABEL_MODES
from esr_core.errors import OptionError
from esr_core.options import check, option, options

#: The smallest input that leaves the last convolutions something to look at.
SMALLEST_PX = 54
LARGEST_PX = 1024
#: Losses that keep the attention of branches different, see :mod:`.diversity_loss`.
DIVERSITY = ("none", "direct", "logdet")


@dataclass(frozen=True)
class ResizeStage:
    """So many epochs at one size; written ``56x4``."""

    size_px: int
    epochs: int

    @classmethod
    def parse(cls, text: str) -> ResizeStage:
        """Return the stage that a text such as ``56x4`` means.

        Raises:
            OptionError: it is not SIZExEPOCHS, or out of bounds.
        """
        try:
            size, epochs = (int(part) for part in str(text).split("x"))
        except ValueError as error:
            raise OptionError(
                f"a stage must be SIZExEPOCHS such as 56x4, but got {text!r}"
            ) from error
        if not SMALLEST_PX <= size <= LARGEST_PX or not 1 <= epochs <= 10_000:
            raise OptionError(
                f"a stage must have a size from {SMALLEST_PX} to {LARGEST_PX} px and 1 to 10000 "
                f"epochs, but got {text!r}"
            )
        return cls(size, epochs)

    def __str__(self) -> str:
        return f"{self.size_px}x{self.epochs}"


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own optimizer, after which the best weights go on."""

    name: str
    branches: int  # of the ensemble meanwhile
    sizes: tuple[int, ...]  # px, one per epoch
    learns: str  # emotions, affect, or both
    newest: bool = False  # the newest branch learns at the full rate, all else slower
    heads_only: bool = False  # nothing but the last layers learns


@dataclass(frozen=True)
class Augmentation:
    """How far the views go; all ranges are symmetric and uniform unless said otherwise."""

    rotation_deg: float = option(15.0, "rotation, degrees", bounds=(0, 180))
    scale: float = option(0.15, "change of size, as a share", bounds=(0, 0.9))
    shift: float = option(0.08, "shift, in widths of the image", bounds=(0, 1))
    flip: float = option(0.5, "probability of a mirror image", bounds=(0, 1))
    gain: float = option(0.4, "change of contrast, as a share", bounds=(0, 1))
    offset: float = option(0.15, "change of brightness; white is 1", bounds=(0, 1))
    blur: float = option(0.3, "probability of a Gaussian blur", bounds=(0, 1))
    blur_width: float = option(
        0.03, "its largest standard deviation, in widths of the image", bounds=(0, 0.5)
    )
    compress: float = option(0.2, "probability of JPEG of quality 10 to 50", bounds=(0, 1))
    erase: float = option(0.3, "probability of a grey rectangle", bounds=(0, 1))
    mixup: float = option(
        0.0,
        "parameter of the Beta distribution by which two faces and what they show are mixed (Zhang "
        "et al., 2018); 0: none",
        bounds=(0, 10),
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; ``configs/`` has what made the weights that ship."""

    method: str = option(
        "joint",
        "joint: all branches at once; branch_by_branch: one more joins when the others are "
        "trained (Siqueira et al., 2020); affect: only valence and arousal",
        choices=("joint", "branch_by_branch", "affect"),
    )
    branches: int = option(4, "voters in the ensemble", bounds=(1, 64))
    diversified: bool = option(False, "ESR*: attention after every layer")
    stages: tuple[ResizeStage, ...] = (ResizeStage(56, 3), ResizeStage(72, 1), ResizeStage(96, 2))
    tuning_epochs: int = option(
        1, "epochs for each branch after the first, when they join one by one", bounds=(1, 10_000)
    )
    batch_size: int = option(64, "faces per step, over all processes", bounds=(1, 65_536))
    learning_rate: float = option(0.05, "peak of the schedule", bounds=(1e-8, 100))
    older_rate: float = option(
        0.1, "share of it for base and older branches when a new one joins", bounds=(0, 1)
    )
    schedule: str = option(
        "one_cycle",
        "one_cycle: rise, then cosine to 0 (Smith and Topin, 2018); step: half every 10 epochs",
        choices=("one_cycle", "step", "constant"),
    )
    warm_up: float = option(0.1, "share of the steps that one_cycle rises", bounds=(0, 0.9))
    momentum: float = option(0.9, "of SGD (Nesterov)", bounds=(0, 0.9999))
    weight_decay: float = option(5e-4, "of convolutions and linear layers", bounds=(0, 1))
    average: float = option(
        0.995, "decay per step of the running average of the weights; 0: none", bounds=(0, 0.99999)
    )
    reduction: str = option(
        "mean", "how the losses of the branches become one", choices=("mean", "sum")
    )
    labels: str = option("cross_entropy", "how FER+'s votes become targets", choices=LABEL_MODES)
    repeat_rare: float = option(
        0.0,
        "emotions with a smaller share of the faces than this are shown more often (Gupta et al., "
        "2019); 0: none",
        bounds=(0, 1),
    )
    diversity: str = option(
        "logdet", "how attention is kept different; ESR* only", choices=DIVERSITY
    )
    diversity_weight: float = option(0.1, "of that, spatial and channel each", bounds=(0, 1000))
    gamma: float = option(10.0, "of the similarity of two branches", bounds=(1e-6, 1e6))
    precision: str = option("bf16", "of the convolutions", choices=("bf16", "fp32"))
    heads_only: bool = option(False, "affect: train the last layers and nothing else")
    validation_interval: int = option(
        1, "epochs from one validation to the next", bounds=(1, 10_000)
    )
    validate_on: int = option(
        1000, "images, while the size still grows; afterwards all", bounds=(1, 10**9)
    )
    save_every_steps: int = option(
        500, "steps between saved states, besides those after each epoch", bounds=(1, 10**9)
    )
    seed: int = option(1, "of everything random", bounds=(0, 2**31 - 1))
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check(self)
        if not self.stages or not all(isinstance(stage, ResizeStage) for stage in self.stages):
            raise OptionError("stages must hold one stage or more, such as 56x4")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The size of each epoch, px."""
        return tuple(s.size_px for stage in self.stages for s in [stage] * stage.epochs)

    def phases(self) -> tuple[Phase, ...]:
        """The stretches of this training, in order."""
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
        """The learning rate at one of a phase's steps; epochs count from 0."""
        if self.schedule == "one_cycle":
            return self.learning_rate * one_cycle(step / steps, self.warm_up)
        if self.schedule == "step":
            return float(self.learning_rate * 0.5 ** (epoch // 10))
        return self.learning_rate

    def to_dict(self) -> dict[str, Any]:
        """As plain values: what a YAML file may hold, and what the metadata records."""
        return {**asdict(self), "stages": [str(stage) for stage in self.stages]}


def from_dict(values: dict[str, Any], where: str) -> TrainingConfig:
    """Make a recipe of plain values; what is not named keeps its default.

    Raises:
        OptionError: a name is unknown, or a value of the wrong type or out of range.
    """
    known = {f.name for f in fields(TrainingConfig)}
    _refuse_unknown(values, known, where)
    values = dict(values)
    if "stages" in values:
        if not isinstance(values["stages"], list):
            raise OptionError(f"{where}: stages must be a list such as [56x4, 96x2]")
        values["stages"] = tuple(ResizeStage.parse(text) for text in values["stages"])
    if "augmentation" in values:
        views = values["augmentation"]
        if not isinstance(views, dict):
            raise OptionError(
                f"{where}: augmentation must have options of its own, but is {views!r}"
            )
        _refuse_unknown(views, {f.name for f in fields(Augmentation)}, f"{where}: augmentation")
        values["augmentation"] = Augmentation(**_with_numbers(views, Augmentation))
    return TrainingConfig(**_with_numbers(values, TrainingConfig))


def _with_numbers(values: dict[str, Any], cls: type) -> dict[str, Any]:
    """Take ``5e-2`` for the number that people mean; YAML 1.1 wants ``5.0e-2``."""
    values = dict(values)
    for known in options(cls):
        value = values.get(known.name)
        if isinstance(known.default, float) and isinstance(value, str):
            with suppress(ValueError):
                values[known.name] = float(value)
    return values


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file of options.

    Raises:
        OptionError: it is missing, or not such a file.
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


def one_cycle(progress: float, warm_up: float) -> float:
    """Share of the peak rate at ``progress`` in [0, 1): a linear rise, then a cosine to 0."""
    if progress < warm_up:
        return 0.1 + 0.9 * progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def _refuse_unknown(values: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(str(name) for name in values if name not in known)
    if unknown:
        raise OptionError(
            f"{where}: unknown option {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
