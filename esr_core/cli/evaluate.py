"""``esr evaluate``, ``esr calibrate`` and ``esr card``: what a network is worth."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Sequence, Tuple, Union

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from esr_core.cli import output_files
from esr_core.cli.command import command
from esr_core.cli.output_files import Output
from esr_core.emotions import LABELS
from esr_core.errors import OptionError
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.onnx_model import ADAPTIVE, load_model
from esr_core.perception.detection import open_detector
from esr_core.progress import bar

if TYPE_CHECKING:
    from esr_core.data.dataset import FaceDataset
    from esr_core.evaluation.metrics import Predictor
    from esr_core.evaluation.robustness import Robustness


def add(commands: Any) -> None:
    """Declare the commands."""
    evaluate = command(
        commands,
        "evaluate",
        "Measure a network on FER+ (majority protocol), or on AffectNet's validation set.",
        "esr evaluate --data valid.npz.xz\n"
        "  esr evaluate --data valid.npz.xz --robustness\n"
        "  esr evaluate --data data/AffectNet --model my.onnx --json",
        _evaluate,
    )
    _add_data(evaluate)
    evaluate.add_argument(
        "--model", default="", help=".onnx file or folder of weights; default: the one that ships"
    )
    evaluate.add_argument(
        "--branches",
        type=_branches,
        default=0,
        metavar="N",
        help="ask only the first N, or 'adaptive': until a face is decided (default: all)",
    )
    evaluate.add_argument(
        "--robustness",
        action="store_true",
        help="also blurred, darkened, compressed, shifted, turned, and found by the detector",
    )
    evaluate.add_argument("--json", action="store_true")

    calibrate = command(
        commands,
        "calibrate",
        "Fit how sure trained weights are, and when they have seen enough; note it beside them.",
        "esr calibrate checkpoints/esr-9 --data valid.npz.xz",
        _calibrate,
    )
    calibrate.add_argument("checkpoint", type=Path, metavar="FOLDER")
    _add_data(calibrate)
    calibrate.add_argument("--json", action="store_true")

    card = command(
        commands,
        "card",
        "Measure a network and write its model card, with pictures, beside it.",
        "esr card models/esr-9-ferplus-int8.onnx --data valid.npz.xz",
        _card,
    )
    card.add_argument("model", type=Path, metavar="FILE.onnx")
    _add_data(card)
    card.add_argument(
        "--fp32", default="", metavar="MODEL", help="the network before it was quantized"
    )
    card.add_argument("--json", action="store_true")


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DATA", help="a file of FER+, or a data folder"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from esr_core.evaluation.metrics import measure

    predict, metadata = _predictor(arguments.model, arguments.branches)
    data = _faces(arguments.data)
    outputs = _answers(predict, metadata, data, "evaluating")
    report = measure(outputs, data.emotions, data.affect)
    asked = float((outputs[2] >= 0).sum(axis=1).mean())
    robustness = None
    if arguments.robustness:
        robustness = _robustness(predict, outputs[0], metadata, data)
    if arguments.json:
        more: Dict[str, Any] = {"branches_asked": round(asked, 2)} if arguments.branches else {}
        if robustness:
            more["robustness"] = robustness.summary()
        print(json.dumps({**report.summary(), **more}))
        return
    table = Table(title=f"{metadata.name} on {report.n} images: {report.accuracy:.2%}")
    for column in ("is", "recall", *LABELS):
        table.add_column(column, justify="right")
    for label, row in zip(LABELS, report.confusion):
        table.add_row(label, f"{report.recall[label]:.1%}", *(str(count) for count in row))
    console = Console()
    console.print(table)
    console.print(
        f"by vote {report.accuracy_vote:.2%}, macro F1 {report.macro_f1:.3f}, "
        f"calibration error {report.ece:.3f}"
    )
    for name, affect in (("valence", report.valence), ("arousal", report.arousal)):
        console.print(
            f"{name}: RMSE {affect.rmse:.3f}, CCC {affect.ccc:.3f}, Pearson {affect.pearson:.3f}, "
            f"same sign {affect.sign_agreement:.1%}"
        )
    if asked < metadata.branches:
        console.print(f"{asked:.2f} of {metadata.branches} branches were asked about a face")
    if report.branches:
        console.print(
            "accuracy of the first 1, 2, … branches: "
            + ", ".join(f"{accuracy:.2%}" for accuracy in report.branches.nested)
        )
        console.print(f"two branches disagree on {report.branches.disagreement:.1%} of the faces")
    if robustness:
        console.print(
            ", ".join(f"{name} {value:.2%}" for name, value in robustness.summary().items())
        )


def _calibrate(arguments: argparse.Namespace) -> None:
    from esr_core.evaluation.calibration import branches_asked, fit_lead, fit_temperature
    from esr_core.evaluation.metrics import at_temperature, measure, torch_predictor
    from esr_core.network import checkpoint

    esr, metadata = checkpoint.load(arguments.checkpoint)
    data = _faces(arguments.data)
    outputs = _answers(torch_predictor(esr), metadata, data, "calibrating")
    before = measure(outputs, data.emotions, data.affect).ece
    target = data.emotions.argmax(axis=1)
    temperature = fit_temperature(outputs[3], target)
    after = measure(at_temperature(outputs, temperature), data.emotions, data.affect).ece
    lead = fit_lead(outputs[3], target, temperature)
    asked = float(branches_asked(outputs[3], lead, temperature)[1].mean())
    description = checkpoint.find_description(arguments.checkpoint)
    figures = {"ece_before": round(before, 4), "ece": round(after, 4), "faces": len(data)}
    figures["branches_asked"] = round(asked, 2)
    record = {**metadata.record, "calibration": figures}
    calibrated = replace(metadata, temperature=temperature, lead=lead, record=record)
    checkpoint.write_description(arguments.checkpoint, calibrated, description.stem)
    if arguments.json:
        print(json.dumps({"temperature": temperature, "lead": lead, **figures}))
    else:
        print(
            f"temperature {temperature:.3f} noted in {description}; calibration error "
            f"{before:.3f} before, {after:.3f} with it; with a lead of {lead:g} a face is decided "
            f"after {asked:.1f} of {metadata.branches} branches on the average"
        )


def _card(arguments: argparse.Namespace) -> None:
    from esr_core.evaluation.metrics import measure
    from esr_core.evaluation.model_card import Adaptive, places, write

    read = [arguments.model, arguments.data, Path(arguments.fp32)]
    output_files.check([Output("the card", each) for each in places(arguments.model)], read, True)
    predict, metadata = _predictor(str(arguments.model))
    data = _faces(arguments.data)
    outputs = _answers(predict, metadata, data, "evaluating")
    report = measure(outputs, data.emotions, data.affect)
    robustness = _robustness(predict, outputs[0], metadata, data)
    exact = None
    if arguments.fp32:
        unquantized = _answers(*_predictor(arguments.fp32), data, "evaluating")
        exact = measure(unquantized, data.emotions, data.affect)
    adaptive = None
    if load_model(arguments.model).has_early_exit:
        told = _answers(*_predictor(str(arguments.model), ADAPTIVE), data, "evaluating")
        asked = (told[2] >= 0).sum(axis=1)
        right = told[0].argmax(axis=1) == data.emotions.argmax(axis=1)
        adaptive = Adaptive(metadata.lead, float(asked.mean()), float(right.mean()))
    files = write(arguments.model, metadata, report, robustness, exact, adaptive)
    if arguments.json:
        print(json.dumps({"files": [str(file) for file in files]}))
    else:
        print("\n".join(map(str, files)))


def _faces(path: Path) -> FaceDataset:
    if path.is_dir():
        from esr_core.data.dataset import open_split

        return open_split(path, "validation", "categorical")
    from esr_core.data import ferplus

    return ferplus.read(path)


def _answers(
    predict: Predictor, metadata: ModelMetadata, data: FaceDataset, doing: str
) -> Sequence[NDArray[Any]]:
    from esr_core.evaluation.metrics import predictions

    with bar("faces") as progress:
        task = progress.add_task(doing, total=len(data))
        return predictions(
            predict,
            data,
            metadata.input,
            on_progress=lambda done: progress.update(task, completed=done),
        )


def _robustness(
    predict: Predictor, plain: NDArray[np.float32], metadata: ModelMetadata, data: FaceDataset
) -> Robustness:
    from esr_core.evaluation.robustness import PASSES, measure_robustness

    with bar("faces") as progress:
        task = progress.add_task("disturbing", total=PASSES * len(data))
        return measure_robustness(
            predict,
            plain,
            data,
            metadata.input,
            open_detector(),
            lambda done: progress.update(task, completed=done),
        )


def _branches(text: str) -> Union[int, str]:
    if text == ADAPTIVE:
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f"must be {ADAPTIVE}, or a whole number from 1 on, but got {text!r}"
        )
    return int(text)


def _predictor(model: str, branches: Union[int, str] = 0) -> Tuple[Predictor, ModelMetadata]:
    if model and Path(model).is_dir():
        if branches:
            raise OptionError(f"--branches needs an .onnx file, but {model} is a folder of weights")
        from esr_core.evaluation.metrics import torch_predictor
        from esr_core.network import checkpoint

        esr, metadata = checkpoint.load(Path(model))
        return torch_predictor(esr, metadata.temperature), metadata
    loaded = load_model(model or None)
    if branches:
        return partial(loaded.predict, branches=branches), loaded.metadata
    predict = loaded.predict_branches if loaded.has_branch_outputs else loaded.predict
    return predict, loaded.metadata
