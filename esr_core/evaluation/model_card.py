"""The model card: what a network is, what it was measured to be worth, and what it is not for.

Every figure is measured when the card is written. After Mitchell et al., "Model Cards for Model
Reporting", FAT* 2019.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esr_core.atomic_write import replacing
from esr_core.emotions import LABELS
from esr_core.evaluation.metrics import EvaluationReport
from esr_core.evaluation.robustness import Robustness
from esr_core.hashing import digest
from esr_core.inference.metadata import ModelMetadata

_LIMITS = """\
## What it must not be used for

A face is no proof of what somebody feels: people see an expression, and they disagree about it. Do
not decide about people by this network: not about work, school, credit, borders, health or guilt.
In the European Union, inferring emotions at work and in schools is prohibited, with few exceptions
(Regulation 2024/1689, article 5). Do not rely on an emotion whose recall above is low.

FER2013 are small grey pictures found on the web, of posed and acted faces for the most part. Age,
sex and origin of the people are not known, so neither is whether the network serves all alike.
"""
_AFFECT = """\
## Valence and arousal

**Derived, not annotated.** Nobody looked at these faces and said how pleasant or how aroused. The
targets are the mean place of the votes in the circumplex (Russell, 1980; coordinates and sources in
`esr_core/emotions.py`), so they say little that the eight probabilities do not say. Training with
AffectNet replaces them (`docs/training.md`).
"""
_LICENCE = """\
## Licence

The weights are Apache-2.0 as far as they are ours to give. The images of FER2013 are research data;
whether weights trained on them suit your use is for you to judge. The votes of FER+ are under the
MIT licence.
"""
#: What a card says of each figure of a :class:`Robustness`.
_WAYS = {
    "accuracy": "as they are",
    "blurred": "blurred, Gaussian of 1.5 px at 48 px",
    "darkened": "a third of the light",
    "compressed": "JPEG of quality 30",
    "shifted": "shifted by 10 % of the width",
    "turned": "turned by 15°",
    "photographed": "in a larger picture, framed by the detector (of those that it finds)",
    "mirrored_too": "averaged with the mirror image (twice the time; the node does not do it)",
}
_FIGURES: Tuple[Tuple[str, Callable[[EvaluationReport], str]], ...] = (
    ("by mean probability", lambda report: f"{report.accuracy:.2%}"),
    ("by vote", lambda report: f"{report.accuracy_vote:.2%}"),
    ("macro F1", lambda report: f"{report.macro_f1:.3f}"),
    ("expected calibration error", lambda report: f"{report.ece:.3f}"),
)


class Adaptive(NamedTuple):
    """A network that asks branches until a face is decided."""

    lead: float  # by which one emotion has to lead
    asked: float  # branches, on the average
    accuracy: float


def write(
    model: Path,
    metadata: ModelMetadata,
    report: EvaluationReport,
    robustness: Robustness,
    exact: Optional[EvaluationReport] = None,
    adaptive: Optional[Adaptive] = None,
) -> List[Path]:
    """Write a card and its picture to their :func:`places`; return these.

    exact: the report of the network before it was quantized. adaptive: what it is worth when it
    stops to ask.
    """
    card, picture = places(model)
    draw_confusion(picture, report.confusion, metadata.name)
    parts = [
        f"# {model.name}\n\nWritten by `esr card`; `esr evaluate --robustness` prints the same "
        "figures.\n",
        _facts(model, metadata),
        _accuracy(metadata, report, exact),
        _recall(report, picture),
        _nested(report, adaptive),
        _robust(robustness),
        _AFFECT,
        f"RMSE to these targets: valence {report.valence.rmse:.3f}, arousal "
        f"{report.arousal.rmse:.3f}.\n",
        _recipe(metadata.record, model.name),
        _LIMITS,
        _LICENCE,
    ]
    with replacing(card) as partial:
        partial.write_text("\n".join(part for part in parts if part), encoding="utf-8")
    return [card, picture]


def places(model: Path) -> List[Path]:
    """Return ``<model>.md`` and ``<model>-confusion.png`` beside a model."""
    return [model.with_suffix(".md"), model.with_name(model.stem + "-confusion.png")]


def draw_confusion(path: Path, confusion: NDArray[np.int64], name: str) -> None:
    """Draw what was said (columns) of what it is (rows) as PNG; shades are shares of the row."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*confusion.shape):
        colour = "white" if shares[row, column] > 0.6 else "black"
        count = str(confusion[row, column])
        axes.text(column, row, count, ha="center", va="center", color=colour)
    axes.set_xticks(range(len(LABELS)), LABELS, rotation=40, ha="right")
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.set(xlabel="said", ylabel="is, by most votes", title=f"{name}: validation faces")
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=100)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def _facts(model: Path, metadata: ModelMetadata) -> str:
    spec, record = metadata.input, metadata.record
    looks = "grey" if spec.grey else "colour"
    detail = f", reduced to {spec.detail_px} px before" if spec.detail_px else ""
    rows = [
        ("Network", f"{metadata.name}, {metadata.branches} branches"),
        ("File", f"{model.stat().st_size / 1e6:.1f} MB, SHA-256 `{digest(model)[:16]}…`"),
        ("Input", f"(n, 3, {spec.size_px}, {spec.size_px}) in [0, 1], {looks}{detail}"),
        ("Frame", f"a square of {spec.margin:g} widths of the detector's box"),
    ]
    if "data" in record:
        rows.append(("Trained on", f"{record['data']}, {record['training_images']} faces"))
    if "minutes" in record:
        device = f" on {record['device']}" if "device" in record else ""
        rows.append(("Last run", f"{record['minutes']:.0f} minutes{device}"))
    return _table(("", ""), rows)


def _accuracy(
    metadata: ModelMetadata, report: EvaluationReport, exact: Optional[EvaluationReport]
) -> str:
    columns = [("this file", report)] + ([("before quantization", exact)] if exact else [])
    table = _table(
        ("", *(name for name, _ in columns)),
        ((name, *(figure(each) for _, each in columns)) for name, figure in _FIGURES),
    )
    calibration = metadata.record.get("calibration")
    before = f"; {calibration['ece_before']:.3f} without it" if calibration else ""
    return (
        f"## Accuracy\n\n{report.n} validation faces, majority protocol. Training looked at this "
        f"split to choose the best epoch, so a fresh one will come out somewhat lower.\n\n{table}\n"
        f"The temperature, {metadata.temperature:g}, was fitted to the same split; the calibration "
        f"error is {report.ece:.3f} with it{before}.\n"
    )


def _recall(report: EvaluationReport, picture: Path) -> str:
    counts = report.confusion.sum(axis=1)
    rows = (
        (label, str(count), f"{report.recall[label]:.1%}") for label, count in zip(LABELS, counts)
    )
    table = _table(("emotion", "faces", "recall"), rows)
    return f"{table}\n![What was said of each emotion]({picture.name})\n"


def _nested(report: EvaluationReport, adaptive: Optional[Adaptive]) -> str:
    if report.branches is None:
        return ""
    told = ""
    if adaptive:
        told = (
            f"\nAsked in turns until one emotion leads the next by {adaptive.lead:g} "
            f"(`branches: adaptive`), {adaptive.asked:.2f} of {len(report.branches.nested)} "
            f"branches are asked on the average, with an accuracy of {adaptive.accuracy:.2%}. The "
            "lead was fitted to these faces.\n"
        )
    each = report.branches.nested
    table = _table(
        ("branches", *(str(k) for k in range(1, len(each) + 1))),
        [("accuracy", *(f"{accuracy:.2%}" for accuracy in each))],
    )
    return (
        f"## The first k branches\n\nAny number of the first branches is an ensemble.\n\n{table}\n"
        f"Two branches disagree on {report.branches.disagreement:.1%} of the faces.\n{told}"
    )


def _robust(robustness: Robustness) -> str:
    figures = robustness.summary()
    rows = ((what, f"{figures[name]:.2%}") for name, what in _WAYS.items())
    return (
        f"## As a camera gives them\n\n{_table(('the faces are', 'accuracy'), rows)}\n"
        f"The detector finds {robustness.found:.1%} of the faces. These are faces of the data set "
        "put into larger pictures; faces from a robot's camera were not measured.\n"
    )


def _recipe(record: Dict[str, Any], file: str) -> str:
    recipe = record.get("recipe")
    if not isinstance(recipe, dict):
        return ""
    stages = " ".join(map(str, recipe["stages"]))
    started = ""
    if record.get("start"):
        started = "It went on from other weights; `docs/training.md` tells of the runs before. "
    return (
        f"## Recipe\n\nStages {stages}, seed {recipe['seed']}; epoch {record['epochs_done']} was "
        f"the best. {started}The file holds all options:\n\n"
        "    python -c 'import json, esr_core; "
        f'print(json.dumps(esr_core.load_model("{file}").metadata.record, indent=2))\'\n'
    )
