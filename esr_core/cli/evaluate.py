"""``esr evaluate``, ``esr calibrate`` and ``esr card``: the metrics of a network."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Union

import numpy as np

from esr_core.cli import output_files
from esr_core.cli.command import StdoutConsole, command
from esr_core.cli.tables import print_table
from esr_core.data.dataset import open_evaluation
from esr_core.data.faces import FaceDataset
from esr_core.emotions import LABELS
from esr_core.evaluation.calibration import (
    adjustment,
    exit_early,
    fit_balance,
    fit_exit_margin,
    fit_temperature,
)
from esr_core.evaluation.metrics import (
    measure,
    open_predictor,
    predict_split,
    rounded,
    torch_predictor,
    with_logits,
)
from esr_core.evaluation.robustness import PASSES, measure_robustness
from esr_core.inference.face_detector import open_detector
from esr_core.inference.onnx_model import ADAPTIVE, load_model
from esr_core.progress import counter


def add(commands: Any) -> None:
    """Declare the commands."""
    evaluate = command(commands, "evaluate", _evaluate)
    calibrate = command(commands, "calibrate", _calibrate)
    card = command(commands, "card", _card)
    flag = evaluate.add_argument
    flag("--model", default="", help=".onnx file or folder of weights (default: the shipped one)")
    branches = "number of branches to evaluate; adaptive: the first one, and the others only when "
    branches += "it is not confident (default: all)"
    flag("--branches", type=_branches, default=0, metavar="N|adaptive", help=branches)
    robustness = "also evaluate blurred, dark, compressed, shifted, rotated and detected faces"
    flag("--robustness", action="store_true", help=robustness)
    calibrate.add_argument("checkpoint", type=Path, metavar="FOLDER")
    card.add_argument("model", type=Path, metavar="FILE.onnx")
    card.add_argument("--fp32", default="", metavar="MODEL", help="the network before quantization")
    data = "a FER+ file, a folder of a data set, or own faces: a folder for each emotion, or a "
    data += ".csv file"
    for parser in (evaluate, calibrate, card):
        parser.add_argument("--data", type=Path, required=True, help=data)
        parser.add_argument("--json", action="store_true")


def _evaluate(arguments: argparse.Namespace) -> None:
    """Evaluate a network on FER+ (majority protocol), on AffectNet's validation set, or on your
    own faces.

    examples:
      esr evaluate --data valid.npz.xz
      esr evaluate --data valid.npz.xz --robustness
      esr evaluate --data my_faces
      esr evaluate --data data/AffectNet --model my.onnx --json
    """
    done = _Evaluation(arguments.data, arguments.model, arguments.branches)
    report, metadata, branches = done.report, done.metadata, done.report.branches
    robustness = rounded(done.robustness()) if arguments.robustness else {}
    if arguments.json:
        figures = report.summary()
        if arguments.branches:
            figures["branches_asked"] = round(done.evaluated, 2)
        if robustness:
            figures["robustness"] = robustness
        print(json.dumps(figures))
        return
    faces = report.confusion.sum(axis=1).tolist()
    rows = []
    for label, n, predicted in zip(LABELS, faces, report.confusion.tolist()):
        recall = report.recall[label] if n else None
        rows.append({"target": label, "faces": n, "recall": recall, **dict(zip(LABELS, predicted))})
    present = sum(map(bool, faces))
    few = f" of {present} emotions with faces" if present < len(LABELS) else ""
    lines = [
        f"by vote {report.accuracy_vote:.2%}, macro F1 {report.macro_f1:.3f}{few}, "
        f"calibration error {report.ece:.3f}"
    ]
    for name, affect in (("valence", report.valence), ("arousal", report.arousal)):
        lines.append(
            f"{name}: RMSE {affect.rmse:.3f}, CCC {affect.ccc:.3f}, Pearson {affect.pearson:.3f}, "
            f"same sign {affect.sign_agreement:.1%} (without targets of 0)"
        )
    if done.evaluated < metadata.branches:
        lines.append(f"{done.evaluated:.2f} of {metadata.branches} branches evaluated per face")
    if branches:
        accuracies = ", ".join(map("{:.2%}".format, branches.nested))
        lines.append(f"accuracy of the first 1, 2, … branches: {accuracies}")
        lines.append(f"two branches disagree on {branches.disagreement:.1%} of the faces")
    if robustness:
        lines.append(", ".join(f"{name} {x:.2%}" for name, x in robustness.items()))
    columns = {"target": "{target}", "faces": "{faces}", "recall": "{recall:.1%}"}
    columns.update((label, f"{{{label}}}") for label in LABELS)
    title = f"{metadata.name} on {report.n} images: {report.accuracy:.2%}"
    print_table(title, columns, rows, gap=1)
    StdoutConsole().print("\n".join(lines), soft_wrap=True)


def _calibrate(arguments: argparse.Namespace) -> None:
    """Fit temperature, bias and early-exit margin of trained weights, and save them there.

    examples:
      esr calibrate checkpoints/esr-9 --data valid.npz.xz
    """
    from esr_core.network import checkpoint

    esr, metadata = checkpoint.load(arguments.checkpoint)
    data = open_evaluation(arguments.data, metadata)
    outputs = predict_split(torch_predictor(esr), data, metadata.input, "calibrating")
    before = measure(outputs, data.emotions, data.affect)
    target = data.emotions.argmax(axis=1)
    temperature = fit_temperature(outputs[3], target)
    logits = (outputs[3] / temperature).astype(np.float32)
    balance, curve = fit_balance(logits, target)
    bias = adjustment(target, balance.tau)
    logits += bias
    after = measure(with_logits(outputs, logits), data.emotions, data.affect).ece
    margin = fit_exit_margin(logits, target)
    evaluated = float(exit_early(logits, margin)[1].mean())
    figures = {
        "ece_before": round(before.ece, 4),
        "ece": round(after, 4),
        "faces": len(data),
        "branches_asked": round(evaluated, 2),
        "tau": balance.tau,
        "balance": [[round(value, 4) for value in each] for each in curve],
    }
    fitted = replace(
        metadata,
        temperature=temperature,
        bias=tuple(bias.tolist()) if balance.tau else (),
        lead=margin,
        record={**metadata.record, "calibration": figures},
    )
    description = checkpoint.find_description(arguments.checkpoint)
    checkpoint.write_description(arguments.checkpoint, fitted, description.stem)
    if arguments.json:
        saved = {"temperature": temperature, "bias": fitted.bias, "lead": margin}
        print(json.dumps({**saved, **figures}))
        return
    print(
        f"saved in {description}:\n"
        f"temperature {temperature:.3f}: calibration error {before.ece:.3f} before, "
        f"{after:.3f} now\n"
        f"tau {balance.tau:g}, for rare emotions: macro F1 {before.macro_f1:.3f} before, "
        f"{balance.macro_f1:.3f} now; accuracy {before.accuracy:.2%} before, "
        f"{balance.accuracy:.2%} now\n"
        f"exit margin {margin:g}: {evaluated:.1f} of {metadata.branches} branches per face\n"
        f"fitted to {len(data)} faces"
    )


def _card(arguments: argparse.Namespace) -> None:
    """Evaluate a network and write its model card, with a picture, beside it.

    examples:
      esr card models/esr-9-ferplus-int8.onnx --data valid.npz.xz
    """
    from esr_core.evaluation.model_card import places, write

    read = [arguments.model, arguments.data, Path(arguments.fp32)]
    output_files.check([("the card", each) for each in places(arguments.model)], read)
    model = str(arguments.model)
    has_early_exit = load_model(model).has_early_exit  # first: a folder of weights is an error
    done = _Evaluation(arguments.data, model)
    exact = _Evaluation(done.data, arguments.fp32).report if arguments.fp32 else None
    adaptive = None
    if has_early_exit:
        early = _Evaluation(done.data, model, ADAPTIVE)
        adaptive = early.evaluated, early.report.accuracy
    robustness = done.robustness()
    is_annotated = not done.data.derives_affect
    is_own_split = done.data.name == done.metadata.record.get("data")
    results = (done.report, robustness, exact, adaptive, is_annotated, is_own_split)
    paths = write(arguments.model, done.metadata, *results)
    files = [*map(str, paths)]
    print(json.dumps({"files": files}) if arguments.json else "\n".join(files))


class _Evaluation:
    """The outputs of a network on a data set, and their report."""

    def __init__(
        self, data: Union[FaceDataset, Path], model: str, branches: Union[int, str] = 0
    ) -> None:
        self._predict, self.metadata = open_predictor(model, branches)
        if isinstance(data, Path):
            data = open_evaluation(data, self.metadata)
        self.data = data
        self._outputs = predict_split(self._predict, data, self.metadata.input, "evaluating")
        self.report = measure(self._outputs, data.emotions, data.affect)
        #: Branches evaluated per face, mean.
        self.evaluated = float((self._outputs[2] >= 0).sum(axis=1).mean())

    def robustness(self) -> Dict[str, float]:
        inputs = (self._predict, self._outputs[0], self.data, self.metadata.input)
        with counter("faces", "robustness", PASSES * len(self.data)) as update:
            return measure_robustness(*inputs, open_detector(), update)


def _branches(text: str) -> Union[int, str]:
    if text == ADAPTIVE:
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    allowed = f"{ADAPTIVE}, or a whole number from 1 on"
    raise argparse.ArgumentTypeError(f"must be {allowed}, but got {text!r}")
