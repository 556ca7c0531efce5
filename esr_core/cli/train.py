"""``esr train``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Dict

from esr_core import options as declared
from esr_core.cli import output_files
from esr_core.cli.command import command
from esr_core.cli.output_files import Output
from esr_core.errors import AnotherTraining, OptionError
from esr_core.training import config
from esr_core.training.config import Augmentation, TrainingConfig
from esr_core.training.progress import training_bar

#: What a training needs besides a recipe; also allowed in a file for --config.
_TRAINING_ARGUMENTS = {
    "data": "folder with FER+ (train.npz.xz, valid.npz.xz), or with AffectNet",
    "out": "folder for weights, curves, and the state to go on from",
    "device": "cpu or cuda (default: cpu)",
    "start": "folder of weights to train on from (default: a new network)",
    "images": "train on so many images only, to try things",
}


def add(commands: Any) -> None:
    """Declare the command."""
    train = command(
        commands,
        "train",
        "Train a network on FER+ or AffectNet; the same command goes on after a kill.",
        "esr train --data data/ferplus --out checkpoints/esr-4\n"
        "  esr train --config my.yaml --seed 2 --out checkpoints/second\n"
        "  esr train --data data/ferplus --out /tmp/try --images 640 --stages 56x1\n"
        "  torchrun --nproc-per-node 4 -m esr_core.cli train --config my.yaml --device cuda",
        run,
    )
    train.add_argument(
        "--config", type=Path, metavar="FILE.yaml", help="any of these options; flags come first"
    )
    for name, what in _TRAINING_ARGUMENTS.items():
        train.add_argument("--" + name, metavar=name.upper(), help=what)
    train.add_argument("--fresh", action="store_true", help="begin anew, whatever OUT holds")
    train.add_argument("--json", action="store_true")
    train.add_argument(
        "--stages",
        nargs="+",
        metavar="SIZExEPOCHS",
        help="sizes, px, and epochs at each "
        f"(default: {' '.join(map(str, TrainingConfig().stages))})",
    )
    _add_training_options(train)


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each option of a recipe, and of its augmentation."""
    for group, cls in (
        ("how to train", TrainingConfig),
        ("how far augmented views go", Augmentation),
    ):
        flags = parser.add_argument_group(group)
        for option in declared.options(cls):
            kind = type(option.default)
            alone: Dict[str, Any] = {"nargs": "?", "const": True} if kind is bool else {}
            flags.add_argument(
                "--" + option.name.replace("_", "-"),
                dest=option.name,
                type=kind if kind is not bool else _flag,
                **alone,
                choices=option.choices or None,
                metavar=None if option.choices else kind.__name__.upper(),
                help=f"{option.description.replace('%', '%%')} (default: {option.default!r})",
            )


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be true or false, but got {text!r}")
    return text.lower() == "true"


def run(arguments: argparse.Namespace) -> None:
    """Train, or go on training."""
    from esr_core.data.dataset import open_split
    from esr_core.network import checkpoint
    from esr_core.training.distributed import leads
    from esr_core.training.trainer import train

    values = config.read(arguments.config) if arguments.config else {}
    views = values.get("augmentation") or {}
    for option in (*declared.options(TrainingConfig), *declared.options(Augmentation)):
        given = getattr(arguments, option.name)
        if given is not None:
            of_views = hasattr(Augmentation, option.name)
            (views if of_views and isinstance(views, dict) else values)[option.name] = given
    if views:
        values["augmentation"] = views
    if arguments.stages:
        values["stages"] = arguments.stages
    where = {
        name: getattr(arguments, name) or values.pop(name, None) for name in _TRAINING_ARGUMENTS
    }
    for name in _TRAINING_ARGUMENTS:
        values.pop(name, None)
    for name in ("data", "out"):
        if not where[name]:
            raise OptionError(f"--{name} is needed, or '{name}:' in the --config file")
    chosen = config.from_dict(values, str(arguments.config or "esr train"))
    kind = "dimensional" if chosen.method == "affect" else "categorical"
    folder = Path(str(where["data"]))
    training = open_split(folder, "training", kind, chosen.labels)
    if where["images"]:
        training = training.subset(_whole_number("images", where["images"]))
    validation = open_split(folder, "validation", kind)
    out, start = Path(str(where["out"])), None
    if where["start"]:
        first = Path(str(where["start"]))
        written = [Output("--out", each) for each in checkpoint.files(out)]
        output_files.check(written, checkpoint.files(first), True)
        start = checkpoint.load(first)[0]
    with training_bar(chosen.batch_size, leads()) as show:
        try:
            report = train(
                training,
                validation,
                chosen,
                out,
                show,
                device=str(where["device"] or "cpu"),
                start=start,
                fresh=arguments.fresh,
            )
        except AnotherTraining as error:
            raise OptionError(f"{error}; take another --out, or begin anew with --fresh") from error
    if not leads():
        return
    if arguments.json:
        print(json.dumps(report.summary()))
    else:
        print(
            f"{report.accuracy:.2%} of {report.n} images; weights, history.csv and curves.png "
            f"in {out}"
        )


def _whole_number(name: str, value: Any) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise OptionError(f"{name} must be a whole number from 1 on, but got {value!r}")
    return number
