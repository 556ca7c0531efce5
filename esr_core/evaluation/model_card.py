"""The model card: properties of a network, its metrics, and its limitations.

Every figure is measured when the card is written. After Mitchell et al., "Model Cards for Model
Reporting", FAT* 2019.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esr_core.atomic_write import replacing
from esr_core.emotions import LABELS
from esr_core.evaluation.metrics import EvaluationReport
from esr_core.evaluation.robustness import Robustness
from esr_core.hashing import digest
from esr_core.inference.metadata import ModelMetadata

#: The card's fixed text, with fields of ``str.format``.
_CARD = Path(__file__).parent / "assets" / "model_card.md"
_BRANCHES = """
## The first k branches

The first k branches are an ensemble for every k.

{table}
Two branches disagree on {disagreement:.1%} of the faces.
"""
_ADAPTIVE = """
With early exit (`branches: adaptive`), {evaluated:.2f} of {total} branches are evaluated per
face on average, with an accuracy of {accuracy:.2%}. The exit margin, {margin:g}, was fitted to
these faces.
"""
_TRAINING = """
## Training

Stages {stages}, seed {seed}; epoch {epoch} was the best. {start}The file contains all options:

    python -c 'import json, esr_core; \
print(json.dumps(esr_core.load_model("{file}").metadata.record, indent=2))'
"""
_START = "Training continued from other weights; `docs/training.md` describes the earlier runs. "
#: The rows of the robustness table, by the names in :meth:`Robustness.summary`.
_DISTURBANCES = {
    "accuracy": "original",
    "blurred": "blurred, Gaussian of 1.5 px at 48 px",
    "darkened": "a third of the light",
    "compressed": "JPEG of quality 30",
    "shifted": "shifted by 10 % of the width",
    "turned": "rotated by 15°",
    "photographed": "in a larger picture, cropped by the detector's box (detected faces only)",
    "mirrored_too": "averaged with the mirror image (twice the time; the node does not do it)",
}
_FIGURES = {
    "by mean probability": "{.accuracy:.2%}",
    "by vote": "{.accuracy_vote:.2%}",
    "macro F1": "{.macro_f1:.3f}",
    "expected calibration error": "{.ece:.3f}",
}


class Adaptive(NamedTuple):
    """The metrics of a network with early exit."""

    margin: float  # by which the likeliest emotion must exceed the next one
    evaluated: float  # branches per face, mean
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

    exact: report of the network before quantization. adaptive: metrics with early exit.
    """
    card, picture = places(model)
    draw_confusion(picture, report.confusion, metadata.name)
    calibration = metadata.record.get("calibration")
    text = _CARD.read_text(encoding="utf-8").format(
        file=model.name,
        metadata=metadata,
        report=report,
        uncalibrated=f" and {calibration['ece_before']:.3f} without it" if calibration else "",
        picture=picture.name,
        branches=_branches(report),
        adaptive=_ADAPTIVE.format(total=metadata.branches, **adaptive._asdict())
        if adaptive
        else "",
        found=robustness.found,
        training=_training(metadata.record, model.name),
        facts=_facts(model, metadata),
        **_tables(report, robustness, exact),
    )
    with replacing(card) as partial:
        partial.write_text(text, encoding="utf-8")
    return [card, picture]


def _tables(
    report: EvaluationReport, robustness: Robustness, exact: Optional[EvaluationReport]
) -> Dict[str, str]:
    columns = {"this file": report, **({"before quantization": exact} if exact else {})}
    counts, figures = report.confusion.sum(axis=1).tolist(), robustness.summary()
    affect = {"valence": report.valence, "arousal": report.arousal}
    return {
        "accuracy": _table(
            ("", *columns),
            ((name, *map(figure.format, columns.values())) for name, figure in _FIGURES.items()),
        ),
        "recall": _table(
            ("emotion", "faces", "recall"),
            ((each, n, f"{report.recall[each]:.1%}") for each, n in zip(LABELS, counts)),
        ),
        "robustness": _table(
            ("faces", "accuracy"),
            ((label, f"{figures[name]:.2%}") for name, label in _DISTURBANCES.items()),
        ),
        "affect": _table(
            ("", "RMSE", "same sign"),
            ((name, f"{x.rmse:.3f}", f"{x.sign_agreement:.1%}") for name, x in affect.items()),
        ),
    }


def places(model: Path) -> List[Path]:
    """Return ``<model>.md`` and ``<model>-confusion.png`` beside a model."""
    return [model.with_suffix(".md"), model.with_name(model.stem + "-confusion.png")]


def draw_confusion(path: Path, confusion: NDArray[np.int64], name: str) -> None:
    """Draw a confusion matrix (rows: target, columns: prediction) as PNG, shaded by row."""
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
    axes.set(xlabel="predicted", ylabel="target (most votes)", title=f"{name}: validation faces")
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=100)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, cells)) + " |\n" for cells in lines)


def _facts(model: Path, metadata: ModelMetadata) -> str:
    spec, record = metadata.input, metadata.record
    colour = "grey" if spec.grey else "colour"
    detail = f", reduced to {spec.detail_px} px before" if spec.detail_px else ""
    rows = [
        ("Network", f"{metadata.name}, {metadata.branches} branches"),
        ("File", f"{model.stat().st_size / 1e6:.1f} MB, SHA-256 `{digest(model)[:16]}…`"),
        ("Input", f"(n, 3, {spec.size_px}, {spec.size_px}) in [0, 1], {colour}{detail}"),
        ("Crop", f"a square of {spec.margin:g} widths of the detector's box"),
    ]
    if "data" in record:
        rows.append(("Training data", f"{record['data']}, {record['training_images']} faces"))
    if "minutes" in record:
        device = f" on {record['device']}" if "device" in record else ""
        rows.append(("Last training run", f"{record['minutes']:.0f} minutes{device}"))
    return _table(("", ""), rows)


def _branches(report: EvaluationReport) -> str:
    if report.branches is None:
        return ""
    accuracies = [f"{accuracy:.2%}" for accuracy in report.branches.nested]
    table = _table(
        ("branches", *map(str, range(1, len(accuracies) + 1))), [("accuracy", *accuracies)]
    )
    return _BRANCHES.format(table=table, disagreement=report.branches.disagreement)


def _training(record: Dict[str, Any], file: str) -> str:
    config = record.get("recipe")
    if not isinstance(config, dict):
        return ""
    return _TRAINING.format(
        stages=" ".join(map(str, config["stages"])),
        seed=config["seed"],
        epoch=record["epochs_done"],
        start=_START if record.get("start") else "",
        file=file,
    )
