"""The data set interface of training and evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Dict, Optional, Sequence, TypeVar

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS, affect_of
from esr_core.perception.preprocessing import InputSpec

if TYPE_CHECKING:
    from torch import Generator, Tensor

#: Targets made of the votes, after Barsoum et al.: the label with the most votes; a label drawn
#: from them each time; or their distribution.
LABEL_MODES = ("majority", "probability", "cross_entropy")

F = TypeVar("F", bound="FaceDataset")


@dataclass(frozen=True)
class FaceDataset:
    """A split of labelled faces; every array has a row for each face."""

    images: NDArray[Any]  # (n, h, w) grey or (n, h, w, 3) RGB uint8, or what load() reads
    distribution: NDArray[np.float32]  # (n, 8) shares of the votes, rows sum to 1
    target: NDArray[np.int64]  # (n,) the label with the most votes
    labels: str = "cross_entropy"  # the targets, one of LABEL_MODES
    spec: InputSpec = field(default_factory=InputSpec)  # conversion to a network's input
    annotated: Optional[NDArray[np.float32]] = None  # (n, 2) valence and arousal
    taught: Optional[NDArray[np.float32]] = None  # (n, 8) outputs of teachers
    teacher_weight: float = 0.0  # their share of the targets
    teachers: str = ""  # a hash that identifies them

    name: ClassVar[str] = ""

    def __len__(self) -> int:
        return len(self.target)

    @property
    def derives_affect(self) -> bool:
        """Valence and arousal are derived from the emotions, not annotated."""
        return self.annotated is None

    @property
    def emotions(self) -> NDArray[np.float32]:
        """(n, 8) the mean targets, rows sum to 1: all votes, or only the label."""
        if self.taught is None:
            return self._labelled
        import torch

        return self._blend(torch.from_numpy(self._labelled), slice(None)).numpy()

    @property
    def affect(self) -> NDArray[np.float32]:
        """(n, 2) valence and arousal in [-1, 1]: annotated, or derived from the emotions."""
        return affect_of(self.distribution) if self.annotated is None else self.annotated

    def load(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return (k, h, w) grey or (k, h, w, 3) RGB images."""
        return self.images[rows]

    def targets(self, rows: Tensor, generator: Generator) -> Tensor:
        """Return targets (k, 8); ``probability`` draws a label from the votes each time."""
        import torch

        targets = torch.from_numpy(self._labelled)[rows]
        if self.labels == "probability":
            drawn = torch.multinomial(targets, 1, generator=generator)[:, 0]
            targets = torch.nn.functional.one_hot(drawn, len(LABELS)).float()
        return self._blend(targets, rows)

    def subset(self: F, count: int, seed: int = 0) -> F:
        """Return ``count`` faces drawn at random, in order, or all when there are fewer."""
        return self.select(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def select(self: F, rows: NDArray[Any]) -> F:
        """Return some of the faces, by their rows in all arrays or a mask of them."""
        arrays: Dict[str, Any] = {
            name: each[rows] for name, each in vars(self).items() if isinstance(each, np.ndarray)
        }
        return replace(self, **arrays)

    @property
    def _labelled(self) -> NDArray[np.float32]:
        one_hot = np.eye(len(LABELS), dtype=np.float32)
        return one_hot[self.target] if self.labels == "majority" else self.distribution

    def _blend(self, targets: Tensor, rows: Any) -> Tensor:
        """Return targets (k, 8) with the teachers' share."""
        import torch

        taught = self.taught
        if taught is None:
            return targets
        return torch.lerp(targets, torch.from_numpy(taught)[rows], self.teacher_weight)
