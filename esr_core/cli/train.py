"""``esr train``."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esr_core.cli import output_files
from esr_core.cli.command import add_option, command, given
from esr_core.cli.tables import print_table
from esr_core.emotions import LABELS
from esr_core.errors import AnotherTraining, OptionError
from esr_core.options import options, require
from esr_core.process import keep_freed_memory
from esr_core.training import config
from esr_core.training.config import Augmentation, ResizeStage, TrainingConfig
from esr_core.training.progress import training_bar

#: Flags beside the options of a training config, also allowed in a file for --config.
_FLAGS = {
    "data": "folder with FER+ (train.npz.xz, valid.npz.xz), with AffectNet, or with a folder for "
    "each emotion; or a .csv file",
    "out": "folder for weights, curves, and the state from which a killed training resumes",
    "device": "cpu or cuda (default: cpu)",
    "start": "folder of weights to train further (default: a new network)",
    "images": "train on N images only, for a trial",
}


def add(commands: Any) -> None:
    """Declare the command."""
    train = command(commands, "train", run)
    flag = train.add_argument
    flag("--config", type=Path, metavar="FILE.yaml", help="these options; flags take precedence")
    for name, description in _FLAGS.items():
        flag("--" + name, metavar=name.upper(), help=description)
    flag("--fresh", action="store_true", help="start over, whatever OUT holds")
    flag("--json", action="store_true", help="print the evaluation as JSON")
    teachers = ".onnx files or folders of weights; their outputs become a part of the targets"
    flag("--teachers", nargs="+", metavar="MODEL", help=teachers)
    default = " ".join(map(str, TrainingConfig().stages))
    stages = f"input sizes, px, and epochs at each (default: {default})"
    flag("--stages", nargs="+", metavar="SIZExEPOCHS", help=stages)
    for title, cls in (("training", TrainingConfig), ("augmentation", Augmentation)):
        group = train.add_argument_group(title)
        for option in options(cls):
            metavar = type(option.default).__name__.upper()
            add_option(group, option, metavar, repr(option.default))


def run(arguments: argparse.Namespace) -> None:
    r"""Train a network on FER+, AffectNet or your own faces; the same command resumes after a kill.

    examples:
      esr train --data data/ferplus --out checkpoints/esr-4
      esr train --config my.yaml --seed 2 --out checkpoints/second
      esr train --data data/ferplus --out /tmp/try --images 640 --stages 56x1
      esr train --data my_faces --out checkpoints/mine --start models/esr-9-ferplus \
          --branches 9 --stages 64x5 --learning-rate 0.005 --start-share 0.5
      torchrun --nproc-per-node 4 -m esr_core.cli train --config my.yaml --device cuda
    """
    chosen = _merge_config(arguments)  # before PyTorch, whose import takes seconds
    from esr_core.data.dataset import open_splits
    from esr_core.network import checkpoint
    from esr_core.training.distributed import leads
    from esr_core.training.teachers import teach
    from esr_core.training.trainer import train

    kind = "dimensional" if chosen.method == "affect" else "categorical"
    folder, out = Path(str(arguments.data)), Path(str(arguments.out))
    device, start, spec = str(arguments.device or "cpu"), None, None
    if arguments.start:
        first = Path(str(arguments.start))
        written = [("--out", each) for each in checkpoint.files(out)]
        output_files.check(written, checkpoint.files(first))
        start, metadata = checkpoint.load(first)
        spec = metadata.input
    training, validation = open_splits(folder, spec, kind, chosen.labels)
    if arguments.images:
        count = str(arguments.images)
        fits = count.isdecimal() and int(count) > 0
        require(fits, "images", "a whole number from 1 on", repr(arguments.images))
        training = training.subset(int(count))
    if leads() and not arguments.json:
        _print_counts(folder, training.emotions, validation.emotions)
    keep_freed_memory(reserve_mb=256)
    try:
        if arguments.teachers:
            teachers = list(map(Path, arguments.teachers))
            training = teach(training, teachers, chosen.teacher_weight, out, arguments.fresh)
        with training_bar(chosen.batch_size, leads()) as show:
            report = train(
                training, validation, chosen, out, show, device, start, fresh=arguments.fresh
            )
    except AnotherTraining as error:
        raise OptionError(f"{error}; use another --out, or start over with --fresh") from error
    if leads():
        text = f"accuracy {report.accuracy:.2%} on {report.n} images; weights, history.csv and "
        print(json.dumps(report.summary()) if arguments.json else f"{text}curves.png in {out}")


def _print_counts(
    path: Path, training: NDArray[np.float32], validation: NDArray[np.float32]
) -> None:
    """Print the faces of each emotion; emotions: (n, 8), the most probable one counts."""
    counts = [np.bincount(x.argmax(axis=1), minlength=len(LABELS)) for x in (training, validation)]
    rows = [*zip(LABELS, *counts), ("all", len(training), len(validation))]
    columns = {name: f"{{{name}}}" for name in ("emotion", "training", "validation")}
    print_table(f"Faces of {path}", columns, [dict(zip(columns, row)) for row in rows])


def _merge_config(arguments: argparse.Namespace) -> TrainingConfig:
    """Return the options of the file and the flags; add its other values to ``arguments``."""
    values = config.read(arguments.config) if arguments.config else {}
    for name in (*_FLAGS, "teachers"):
        in_file = values.pop(name, None)
        if getattr(arguments, name) is None:
            setattr(arguments, name, in_file)
    teachers = [] if arguments.teachers is None else arguments.teachers
    if not isinstance(teachers, list) or not all(isinstance(each, str) for each in teachers):
        raise OptionError(f"{arguments.config}: teachers must be a list of files or folders")
    for name in ("data", "out"):
        if not getattr(arguments, name):
            raise OptionError(f"--{name} is needed, or '{name}:' in the --config file")
    chosen = config.from_dict(values, str(arguments.config))
    mine, views = given(arguments, TrainingConfig), given(arguments, Augmentation)
    if arguments.stages:
        mine["stages"] = tuple(map(ResizeStage.parse, arguments.stages))
    return replace(chosen, **mine, augmentation=replace(chosen.augmentation, **views))
