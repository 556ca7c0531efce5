"""The model card: properties of a network, its metrics, and its limitations.

Every figure is measured when the card is written. After Mitchell et al., "Model Cards for Model
Reporting", FAT* 2019.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from esr_core.atomic_write import replacing
from esr_core.emotions import LABELS
from esr_core.evaluation.metrics import EvaluationReport, rounded
from esr_core.hashing import digest
from esr_core.inference.metadata import ModelMetadata

#: The card's text, with fields of ``str.format`` and ``<!-- if name -->…<!-- end -->`` around text
#: that only some networks have.
_CARD = Path(__file__).parent / "assets" / "model_card.md"
_OPTIONAL = re.compile(r"<!-- if (\w+) -->(.*?)<!-- end -->", re.DOTALL)
_START = "Training continued from other weights; `docs/training.md` describes the earlier runs. "


def write(
    model: Path,
    metadata: ModelMetadata,
    report: EvaluationReport,
    robustness: Dict[str, float],
    exact: Optional[EvaluationReport] = None,
    adaptive: Optional[Tuple[float, float]] = None,
    is_annotated: bool = False,
    is_own_split: bool = True,
) -> List[Path]:
    """Write a card and its picture to their :func:`places`; return these.

    robustness: see :func:`esr_core.evaluation.robustness.measure_robustness`. exact: report of the
    network before quantization. adaptive: with early exit the number of branches evaluated per
    face, mean, and the accuracy. is_annotated: the faces have valence and arousal. is_own_split:
    they are of the data set of the training, whose validation split selected the best epoch.
    """
    card, picture = places(model)
    draw_confusion(picture, report.confusion, metadata.name)
    record, spec = metadata.record, metadata.input
    is_derived, is_ferplus = metadata.affect == "derived", record.get("data") in ("ferplus", "own")
    has_learned = record.get("data") == "affectnet" and not is_derived
    recipe = record["recipe"] if isinstance(record.get("recipe"), dict) else {}
    calibration = (is_own_split and record.get("calibration")) or {}
    balance = calibration.get("balance", ())[::2]
    faces = report.confusion.sum(axis=1).tolist()
    nested = report.branches.nested if report.branches else ()
    values = {
        "file": model.name,
        "size_mb": model.stat().st_size / 1e6,
        "digest": digest(model),
        "metadata": metadata,
        "annotated": is_annotated,
        "not_annotated": not is_annotated,
        "derives": is_derived and is_annotated,
        "derived": is_derived and not is_annotated,
        "learned": not (is_derived or is_annotated or has_learned),
        "replaceable": not (is_annotated or has_learned),
        "input": spec,
        "detail_px": spec.detail_px,
        "colour": "grey" if spec.grey else "colour",
        "record": record,
        "data": record.get("data"),
        "ferplus": is_ferplus,
        "other": not is_ferplus,
        "own": record.get("data") == "own",
        "minutes": "minutes" in record,
        "device": f" on {record['device']}" if "device" in record else "",
        "own_split": is_own_split,
        "calibration": calibration,
        "margin": adaptive and calibration,
        "recipe": recipe,
        "stages": " ".join(map(str, recipe.get("stages", ()))),
        "start": _START if record.get("start") else "",
        "report": report,
        "exact": exact,
        "adaptive": adaptive,
        "recall": _table(
            ("emotion", "faces", "recall"),
            *((e, n, f"{report.recall[e]:.1%}" if n else "–") for e, n in zip(LABELS, faces)),
        ),
        "branches": nested,
        "nested": _table(
            ("branches", *range(1, len(nested) + 1)), ("accuracy", *map("{:.2%}".format, nested))
        ),
        "balance": _table(
            ("tau", "accuracy", "macro F1"),
            *((f"{tau:g}", f"{accuracy:.2%}", f"{f1:.3f}") for tau, accuracy, f1 in balance),
        ),
        "robustness": rounded(robustness),
        "found": robustness["found"],
        "picture": picture.name,
    }
    text = _select(_CARD.read_text(encoding="utf-8"), values).format_map(values)
    with replacing(card) as partial:
        partial.write_text(text, encoding="utf-8")
    return [card, picture]


def _select(template: str, values: Dict[str, Any]) -> str:
    """Return the text without optional parts that have no value; ValueError if it is invalid."""
    unknown = {match[1] for match in _OPTIONAL.finditer(template)} - values.keys()
    text = _OPTIONAL.sub(lambda match: match[2] if values.get(match[1]) else "", template)
    if unknown or "<!--" in text:
        names = ", ".join(sorted(unknown)) or "one that does not end"
        raise ValueError(f"the card's template has unknown optional parts: {names}")
    return text


def _table(head: Sequence[object], *rows: Sequence[object]) -> str:
    lines = [head, ["---"] * len(head), *rows] if rows else []
    return "".join("| " + " | ".join(map(str, cells)) + " |\n" for cells in lines)


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
        axes.text(column, row, confusion[row, column], ha="center", va="center", color=colour)
    axes.set_xticks(range(len(LABELS)), LABELS, rotation=40, ha="right")
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.set(xlabel="predicted", ylabel="target (most votes)", title=f"{name}: validation faces")
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=100)
