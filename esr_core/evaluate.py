"""How right a network is, and how honest about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.crop import InputSpec, whole
from esr_core.emotions import LABELS, affect_of

if TYPE_CHECKING:
    from esr_core.data.ferplus import FerPlus
    from esr_core.model import ESR

#: Takes (n, 3, s, s) in [0, 1], returns probabilities (n, 8), affect (n, 2), votes (n, branches).
Predictor = Callable[
    [NDArray[np.float32]], Tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
]


@dataclass(frozen=True)
class Report:
    """What was measured on ``n`` images."""

    n: int
    accuracy: float  # by the mean of the branches' probabilities
    accuracy_vote: float  # by their votes; the mean decides a tie
    recall: Dict[str, float]
    confusion: NDArray[np.int64]  # (8, 8), rows: what it is, columns: what was said
    ece: float  # expected calibration error, 15 bins (Guo et al., 2017)
    affect_rmse: Tuple[float, float]  # valence, arousal; to targets derived from the votes

    def summary(self) -> Dict[str, Any]:
        """The figures as plain JSON values, rounded to what is significant."""
        return {
            "n": self.n,
            "accuracy": round(self.accuracy, 4),
            "accuracy_vote": round(self.accuracy_vote, 4),
            "recall": {label: round(value, 4) for label, value in self.recall.items()},
            "confusion": self.confusion.tolist(),
            "ece": round(self.ece, 4),
            "affect_rmse": {
                "valence": round(self.affect_rmse[0], 4),
                "arousal": round(self.affect_rmse[1], 4),
            },
        }


def evaluate(
    predict: Predictor,
    data: FerPlus,
    spec: InputSpec,
    batch_size: int = 64,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """Run ``predict`` over all images of a split and compare with what people saw."""
    parts = []
    for start in range(0, len(data), batch_size):
        parts.append(predict(whole(data.images[start : start + batch_size], spec)))
        on_progress(min(start + batch_size, len(data)))
    probabilities, affect, votes = (np.concatenate(column) for column in zip(*parts))
    said = probabilities.argmax(axis=1)
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(confusion, (data.target, said), 1)
    rmse = np.sqrt(((affect - affect_of(data.distribution)) ** 2).mean(axis=0))
    return Report(
        n=len(data),
        accuracy=float((said == data.target).mean()),
        accuracy_vote=float((majority(votes, probabilities) == data.target).mean()),
        recall=_recall(confusion),
        confusion=confusion,
        ece=calibration_error(probabilities.max(axis=1), said == data.target),
        affect_rmse=(float(rmse[0]), float(rmse[1])),
    )


def majority(votes: NDArray[np.int64], probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the label with the most votes (n,); between equals the more probable one."""
    counts = (votes[:, :, None] == np.arange(len(LABELS))).sum(axis=1)
    labels: NDArray[np.int64] = (counts + probabilities * 0.5).argmax(axis=1)
    return labels


def calibration_error(
    confidence: NDArray[np.float32], right: NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equal bins (Guo et al., 2017, eq. 3)."""
    of_bin = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(of_bin, weights=confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def torch_predictor(esr: ESR) -> Predictor:
    """Let a PyTorch network predict, in float32."""
    import torch  # the node evaluates nothing and must not need it

    from esr_core.model import Ensemble

    ensemble = Ensemble(esr)

    def predict(
        batch: NDArray[np.float32],
    ) -> Tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        with torch.inference_mode():
            probabilities, affect, votes = ensemble(torch.from_numpy(batch))
        return probabilities.numpy(), affect.numpy(), votes.numpy()

    return predict


def _recall(confusion: NDArray[np.int64]) -> Dict[str, float]:
    """Share of each label's images that were recognised; NaN-free: 0 where there are none."""
    totals = np.maximum(confusion.sum(axis=1), 1)
    return {label: float(confusion[i, i] / totals[i]) for i, label in enumerate(LABELS)}
