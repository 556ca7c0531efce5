"""Accuracy and calibration of a network on a data set."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS
from esr_core.errors import ModelError, OptionError
from esr_core.evaluation.calibration import (
    Floats,
    Labels,
    Logits,
    confusion_matrix,
    log_softmax,
    macro_f1,
    mean_probabilities,
)
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.onnx_model import load_model
from esr_core.perception.preprocessing import InputSpec, whole
from esr_core.progress import counter

if TYPE_CHECKING:
    from esr_core.data.faces import FaceDataset
    from esr_core.network.esr import ESR

#: Probabilities (n, 8), affect (n, 2), votes (n, branches; -1: not evaluated), and optionally the
#: branches' logits (n, branches, 8) and affect (n, branches, 2).
Outputs = Sequence[NDArray[Any]]
#: Maps faces (n, 3, s, s) in [0, 1] to the outputs of a network; n may be 0.
Predictor = Callable[[Floats], Outputs]
#: Converts an image, (h, w) or (h, w, 3) uint8, and its row in the data set to faces (k, 3, s, s).
Conversion = Callable[[NDArray[np.uint8], int], Floats]


@dataclass(frozen=True)
class AffectReport:
    """Agreement of one dimension, valence or arousal, with its targets."""

    rmse: float
    ccc: float  # concordance correlation (Lin, "A concordance correlation coefficient", 1989)
    pearson: float
    sign_agreement: float  # share of faces with the target's sign; targets of 0 are excluded


@dataclass(frozen=True)
class BranchReport:
    """Metrics of the branches, one value per branch."""

    loss: Tuple[float, ...]  # cross entropy to the targets
    correct: Tuple[int, ...]
    rmse: Tuple[Tuple[float, float], ...]  # valence, arousal; not clipped to [-1, 1]
    nested: Tuple[float, ...]  # accuracy of the ensemble of the first 1, 2, … branches
    disagreement: float  # share of faces with different votes, mean over all pairs of branches


@dataclass(frozen=True)
class EvaluationReport:
    """The metrics of a network on ``n`` images."""

    n: int
    loss: float  # cross entropy of the mean probabilities
    accuracy: float  # by the mean of the branches' probabilities
    accuracy_vote: float  # by their votes; the mean decides a tie
    recall: Dict[str, float]
    confusion: NDArray[np.int64]  # (8, 8), rows: target, columns: prediction
    macro_f1: float  # mean over the labels that occur
    ece: float  # expected calibration error, 15 bins (Guo et al., 2017)
    valence: AffectReport
    arousal: AffectReport
    branches: Optional[BranchReport] = None

    def summary(self) -> Dict[str, Any]:
        """Return the metrics as JSON values, rounded to four digits."""
        values = {**asdict(self), "confusion": self.confusion.tolist()}
        del values["branches"]
        if self.branches:
            values.update(nested=self.branches.nested, disagreement=self.branches.disagreement)
        return rounded(values)


def rounded(values: Dict[str, Any]) -> Dict[str, Any]:
    """Return JSON values with their floats rounded to four digits."""
    text = json.dumps(values)
    return dict(json.loads(text, parse_float=lambda each: round(float(each), 4)))


def evaluate(
    predict: Predictor,
    data: FaceDataset,
    spec: InputSpec,
    batch_size: int = 64,
    on_progress: Callable[[int], None] = lambda done: None,
) -> EvaluationReport:
    """Run ``predict`` on all images of a data set and compare with the targets."""
    outputs = predictions(predict, data, spec, batch_size, on_progress)
    return measure(outputs, data.emotions, data.affect)


def predictions(
    predict: Predictor,
    data: FaceDataset,
    spec: InputSpec,
    batch_size: int = 64,
    on_progress: Callable[[int], None] = lambda done: None,
    conversion: Optional[Conversion] = None,
) -> Outputs:
    """Run ``predict`` on all images of a data set, batch by batch.

    conversion: by default that of the network's input.
    """
    convert, parts = conversion or (lambda image, _: whole([image], spec)), []
    for start in range(0, len(data), batch_size):
        rows = range(len(data))[start : start + batch_size]
        parts.append(predict(np.concatenate([*map(convert, data.load(rows), rows)])))
        on_progress(rows.stop)
    return [np.concatenate(column) for column in zip(*parts)]


def predict_split(
    predict: Predictor, data: FaceDataset, spec: InputSpec, title: str, batch_size: int = 64
) -> Outputs:
    """Run :func:`predictions` with a progress bar."""
    with counter("faces", title, len(data)) as update:
        return predictions(predict, data, spec, batch_size, update)


def first_branches(outputs: Outputs, count: int) -> Outputs:
    """Return the outputs of the ensemble of the first ``count`` branches."""
    _, _, votes, logits, affect = outputs
    logits, affect = logits[:, :count], affect[:, :count]
    probabilities = mean_probabilities(logits)
    return [probabilities, affect.mean(axis=1).clip(-1, 1), votes[:, :count], logits, affect]


def with_logits(outputs: Outputs, logits: Logits) -> Outputs:
    """Return the outputs of an ensemble whose logits were calibrated; affect is not changed."""
    _, affect, _, _, each = outputs
    return [mean_probabilities(logits), affect, logits.argmax(axis=2), logits, each]


def measure(outputs: Outputs, emotions: Floats, affect: Floats) -> EvaluationReport:
    """Compare the outputs of a :data:`Predictor` with emotions (n, 8) and affect (n, 2).

    Raises ModelError if the outputs are not finite.
    """
    probabilities, estimates, votes, *each = outputs
    if not (np.isfinite(probabilities).all() and np.isfinite(estimates).all()):
        raise ModelError("the network's outputs are not finite")
    target, predicted = emotions.argmax(axis=1), probabilities.argmax(axis=1)
    confusion = confusion_matrix(target, predicted)
    recall = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    return EvaluationReport(
        n=len(target),
        loss=float(-(emotions * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1).mean()),
        accuracy=float((predicted == target).mean()),
        accuracy_vote=float((majority(votes, probabilities) == target).mean()),
        recall=dict(zip(LABELS, recall.tolist())),
        confusion=confusion,
        macro_f1=macro_f1(confusion),
        ece=calibration_error(probabilities.max(axis=1), predicted == target),
        valence=measure_affect(estimates[:, 0], affect[:, 0]),
        arousal=measure_affect(estimates[:, 1], affect[:, 1]),
        branches=_measure_branches(emotions, affect, *each) if each else None,
    )


def measure_affect(estimates: Floats, targets: Floats) -> AffectReport:
    """Compare one dimension, (n,) each; correlations are 0 where nothing varies.

    The sign agreement leaves out targets of exactly 0, which no estimate has the sign of (22.7 % of
    FER+, where both dimensions are derived); it is 1 if all targets are 0.
    """
    x, y = estimates.astype(np.float64), targets.astype(np.float64)
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    spread = x.std() * y.std()
    scale = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    signed = y != 0
    return AffectReport(
        rmse=float(np.sqrt(((x - y) ** 2).mean())),
        ccc=float(2 * covariance / scale) if scale > 0 else 0.0,
        pearson=float(covariance / spread) if spread > 0 else 0.0,
        sign_agreement=float((x * y > 0)[signed].mean()) if signed.any() else 1.0,
    )


def _measure_branches(
    emotions: Floats, affect: Floats, logits: Logits, estimates: Floats
) -> BranchReport:
    target, votes = emotions.argmax(axis=1), logits.argmax(axis=2)
    loss = -(emotions[:, None] * log_softmax(logits)).sum(axis=2).mean(axis=0)
    rmse = np.sqrt(((estimates - affect[:, None]) ** 2).mean(axis=0))
    return BranchReport(
        loss=tuple(loss.tolist()),
        correct=tuple((votes == target[:, None]).sum(axis=0).tolist()),
        rmse=tuple(map(tuple, rmse.tolist())),
        nested=nested_accuracy(logits, target),
        disagreement=disagreement(votes),
    )


def nested_accuracy(logits: Logits, target: Labels) -> Tuple[float, ...]:
    """Return the accuracy of the first 1, 2, … branches, by their mean probability."""
    summed = np.exp(log_softmax(logits)).cumsum(axis=1)
    return tuple((summed.argmax(axis=2) == target[:, None]).mean(axis=0).tolist())


def disagreement(votes: Labels) -> float:
    """Return the share of faces with different votes, the mean over all pairs of branches.

    votes: (n, branches). After Kuncheva and Whitaker, "Measures of diversity in classifier
    ensembles", 2003, of labels instead of right and wrong. 0 for a single branch.
    """
    pairs = votes.shape[1] * (votes.shape[1] - 1)
    if not pairs:
        return 0.0
    counts = _count_votes(votes)
    agreeing = (counts * (counts - 1)).sum(axis=1) / pairs
    return float(1 - agreeing.mean())


def majority(votes: Labels, probabilities: Floats) -> Labels:
    """Return the label with the most votes (n,); the more probable one breaks a tie."""
    labels: Labels = (_count_votes(votes) + probabilities * 0.5).argmax(axis=1)
    return labels


def _count_votes(votes: Labels) -> Labels:
    """Return the number of votes per label: (n, branches) → (n, 8)."""
    counts: Labels = (votes[:, :, None] == np.arange(len(LABELS))).sum(axis=1)
    return counts


def calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the gap of confidence and accuracy, mean over equal bins (Guo et al., 2017, eq. 3)."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(index, weights=confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def torch_predictor(esr: ESR, metadata: Optional[ModelMetadata] = None) -> Predictor:
    """Return a predictor of a PyTorch network, on its device; metadata: calibration, affect."""
    import torch  # evaluating an .onnx file must not need it

    from esr_core.network.esr import Ensemble

    ensemble = Ensemble(esr, metadata)
    device = next(esr.parameters()).device

    def predict(batch: Floats) -> Outputs:
        with torch.inference_mode():
            return [part.cpu().numpy() for part in ensemble(torch.from_numpy(batch).to(device))]

    return predict


def open_predictor(
    model: str = "", branches: Union[int, str] = 0
) -> Tuple[Predictor, ModelMetadata]:
    """Open an ``.onnx`` file or a folder of weights; by default the network that ships.

    branches: as in :meth:`esr_core.inference.onnx_model.Model.predict`, for ``.onnx`` files.
    Raises ModelError if it cannot be loaded, and OptionError if ``branches`` does not fit.
    """
    if model and Path(model).is_dir():
        if branches:
            raise OptionError(f"--branches needs an .onnx file, but {model} is a folder of weights")
        from esr_core.network import checkpoint

        esr, metadata = checkpoint.load(Path(model))
        return torch_predictor(esr, metadata), metadata
    loaded = load_model(model or None)
    if not branches:
        return loaded.predict_branches, loaded.metadata
    loaded.check_branches(branches)
    return partial(loaded.predict, branches=branches), loaded.metadata
