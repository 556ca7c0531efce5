"""How right a network is, and how honest about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Protocol, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.errors import ModelError
from esr_core.evaluation.calibration import log_softmax, mean_probabilities, summed_probabilities
from esr_core.perception.preprocessing import InputSpec, whole

if TYPE_CHECKING:
    from esr_core.data.dataset import FaceDataset
    from esr_core.network.esr import ESR

#: Takes (n, 3, s, s) in [0, 1], returns probabilities (n, 8), affect (n, 2), votes (n, branches),
#: -1 for who was not asked, and if it knows them also the branches' logits (n, branches, 8) and
#: affect (n, branches, 2).
Predictor = Callable[[NDArray[np.float32]], Sequence[NDArray[Any]]]


class Images(Protocol):
    """As much of a split as a network sees."""

    def __len__(self) -> int: ...

    def load(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Return (k, h, w) grey or (k, h, w, 3) RGB images."""


@dataclass(frozen=True)
class AffectReport:
    """How well one dimension, valence or arousal, was told."""

    rmse: float
    ccc: float  # concordance correlation (Lin, "A concordance correlation coefficient", 1989)
    pearson: float
    sign_agreement: float  # share of faces on the right side of 0

    def summary(self) -> Dict[str, float]:
        """Return its values by name, rounded for JSON."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class BranchReport:
    """What each branch is worth, by itself and beside the others; one figure per branch."""

    loss: Tuple[float, ...]  # cross entropy to the targets
    correct: Tuple[int, ...]
    rmse: Tuple[Tuple[float, float], ...]  # valence, arousal; as they come, not kept in [-1, 1]
    nested: Tuple[float, ...]  # accuracy of the ensemble of the first 1, 2, … branches
    disagreement: float  # share of faces that two branches call differently, mean over all pairs


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured on ``n`` images."""

    n: int
    loss: float  # cross entropy of the mean probabilities
    accuracy: float  # by the mean of the branches' probabilities
    accuracy_vote: float  # by their votes; the mean decides a tie
    recall: Dict[str, float]
    confusion: NDArray[np.int64]  # (8, 8), rows: what it is, columns: what was said
    macro_f1: float  # mean over the labels that occur
    ece: float  # expected calibration error, 15 bins (Guo et al., 2017)
    valence: AffectReport
    arousal: AffectReport
    branches: Optional[BranchReport] = None

    def summary(self) -> Dict[str, Any]:
        """The figures as plain JSON values, rounded to what is significant."""
        of_branches: Dict[str, Any] = {}
        if self.branches:
            of_branches = {
                "nested": [round(accuracy, 4) for accuracy in self.branches.nested],
                "disagreement": round(self.branches.disagreement, 4),
            }
        return {
            "n": self.n,
            "loss": round(self.loss, 4),
            "accuracy": round(self.accuracy, 4),
            "accuracy_vote": round(self.accuracy_vote, 4),
            "recall": {label: round(value, 4) for label, value in self.recall.items()},
            "confusion": self.confusion.tolist(),
            "macro_f1": round(self.macro_f1, 4),
            "ece": round(self.ece, 4),
            "valence": self.valence.summary(),
            "arousal": self.arousal.summary(),
            **of_branches,
        }


def evaluate(
    predict: Predictor,
    data: FaceDataset,
    spec: InputSpec,
    batch_size: int = 64,
    on_progress: Callable[[int], None] = lambda done: None,
) -> EvaluationReport:
    """Run ``predict`` over all images of a split and compare with what people saw."""
    outputs = predictions(predict, data, spec, batch_size, on_progress)
    return measure(outputs, data.emotions, data.affect)


def predictions(
    predict: Predictor,
    data: Images,
    spec: InputSpec,
    batch_size: int = 64,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Sequence[NDArray[Any]]:
    """Run ``predict`` over all images of a split; a few at a time are in memory."""
    parts = []
    for start in range(0, len(data), batch_size):
        rows = range(start, min(start + batch_size, len(data)))
        parts.append(predict(whole(data.load(rows), spec)))
        on_progress(rows.stop)
    return [np.concatenate(column) for column in zip(*parts)]


def first_branches(outputs: Sequence[NDArray[Any]], count: int) -> Sequence[NDArray[Any]]:
    """Return what an ensemble of only the first ``count`` branches would have said."""
    _, _, votes, logits, affect = outputs
    logits, affect = logits[:, :count], affect[:, :count]
    probabilities = mean_probabilities(logits)
    return [probabilities, affect.mean(axis=1).clip(-1, 1), votes[:, :count], logits, affect]


def at_temperature(outputs: Sequence[NDArray[Any]], temperature: float) -> Sequence[NDArray[Any]]:
    """Return what an ensemble would have said with its logits divided by ``temperature``."""
    _, affect, votes, logits, each = outputs
    return [mean_probabilities(logits, temperature), affect, votes, logits / temperature, each]


def measure(
    outputs: Sequence[NDArray[Any]], emotions: NDArray[np.float32], affect: NDArray[np.float32]
) -> EvaluationReport:
    """Compare what a :data:`Predictor` returned for n faces with emotions (n, 8), affect (n, 2).

    Raises:
        ModelError: the answers are not finite.
    """
    probabilities, told, votes = outputs[:3]
    if not (np.isfinite(probabilities).all() and np.isfinite(told).all()):
        raise ModelError("the network answers with values that are not finite")
    target, said = emotions.argmax(axis=1), probabilities.argmax(axis=1)
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(confusion, (target, said), 1)
    branches = None
    if len(outputs) > 3:
        branches = _measure_branches(outputs[3], outputs[4], emotions, affect)
    return EvaluationReport(
        n=len(target),
        loss=float(-(emotions * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1).mean()),
        accuracy=float((said == target).mean()),
        accuracy_vote=float((majority(votes, probabilities) == target).mean()),
        recall=_recall(confusion),
        confusion=confusion,
        macro_f1=_macro_f1(confusion),
        ece=calibration_error(probabilities.max(axis=1), said == target),
        valence=measure_affect(told[:, 0], affect[:, 0]),
        arousal=measure_affect(told[:, 1], affect[:, 1]),
        branches=branches,
    )


def measure_affect(told: NDArray[np.float32], true: NDArray[np.float32]) -> AffectReport:
    """Compare one dimension, (n,) each; correlations are 0 where nothing varies."""
    x, y = told.astype(np.float64), true.astype(np.float64)
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    spread = x.std() * y.std()
    scale = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return AffectReport(
        rmse=float(np.sqrt(((x - y) ** 2).mean())),
        ccc=float(2 * covariance / scale) if scale > 0 else 0.0,
        pearson=float(covariance / spread) if spread > 0 else 0.0,
        sign_agreement=float((np.sign(x) == np.sign(y)).mean()),
    )


def _measure_branches(
    logits: NDArray[np.float32],
    told: NDArray[np.float32],
    emotions: NDArray[np.float32],
    affect: NDArray[np.float32],
) -> BranchReport:
    loss = -(emotions[:, None] * log_softmax(logits)).sum(axis=2).mean(axis=0)
    correct = (logits.argmax(axis=2) == emotions.argmax(axis=1)[:, None]).sum(axis=0)
    rmse = np.sqrt(((told - affect[:, None]) ** 2).mean(axis=0))
    return BranchReport(
        loss=tuple(float(v) for v in loss),
        correct=tuple(int(v) for v in correct),
        rmse=tuple((float(v), float(a)) for v, a in rmse),
        nested=nested_accuracy(logits, emotions.argmax(axis=1)),
        disagreement=disagreement(logits.argmax(axis=2)),
    )


def nested_accuracy(logits: NDArray[np.float32], target: NDArray[np.int64]) -> Tuple[float, ...]:
    """Accuracy of the first 1, 2, … of the branches, by their mean probability.

    logits: (n, branches, 8). target: (n,) labels.
    """
    right = summed_probabilities(logits).argmax(axis=2) == target[:, None]
    return tuple(float(share) for share in right.mean(axis=0))


def disagreement(votes: NDArray[np.int64]) -> float:
    """Share of faces that two branches call differently, the mean over all pairs of branches.

    votes: (n, branches). After Kuncheva and Whitaker, "Measures of diversity in classifier
    ensembles", 2003, of labels instead of right and wrong. 0 for a single branch.
    """
    branches = votes.shape[1]
    if branches < 2:
        return 0.0
    counts = (votes[:, :, None] == np.arange(len(LABELS))).sum(axis=1)  # (n, 8)
    agreeing = (counts * (counts - 1)).sum(axis=1) / (branches * (branches - 1))
    return float(1 - agreeing.mean())


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


def torch_predictor(esr: ESR, temperature: float = 1.0) -> Predictor:
    """Let a PyTorch network predict, in float32, on the device where it is."""
    import torch  # the node evaluates nothing and must not need it

    from esr_core.network.esr import Ensemble

    ensemble = Ensemble(esr, temperature)
    device = next(esr.parameters()).device

    def predict(batch: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        with torch.inference_mode():
            return [part.cpu().numpy() for part in ensemble(torch.from_numpy(batch).to(device))]

    return predict


def _recall(confusion: NDArray[np.int64]) -> Dict[str, float]:
    """Share of each label's images that were recognised; NaN-free: 0 where there are none."""
    totals = np.maximum(confusion.sum(axis=1), 1)
    return {label: float(confusion[i, i] / totals[i]) for i, label in enumerate(LABELS)}


def _macro_f1(confusion: NDArray[np.int64]) -> float:
    """The mean over labels of 2 TP / (true + said); labels that never occur are left out."""
    occurring = confusion.sum(axis=1) > 0
    both = confusion.sum(axis=1) + confusion.sum(axis=0)
    return float((2 * np.diag(confusion) / np.maximum(both, 1))[occurring].mean())
