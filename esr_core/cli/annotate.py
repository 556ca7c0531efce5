"""``esr annotate``: the ROS package does the work, this shows."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, List

from rich.console import Console

from esr_core.cli import pipeline_flags, ros_modules
from esr_core.cli.command import command
from esr_core.errors import OptionError
from esr_core.progress import bar

#: What a bag's answers are called, if it is not said.
SUFFIX = "_emotions"


def add(commands: Any) -> None:
    """Declare the command."""
    annotate = command(
        commands,
        "annotate",
        "Answer the images of recorded ROS 2 bags, as the node would, into new bags. Needs ROS 2.",
        "esr annotate walk/                          # makes walk_emotions/\n"
        "  esr annotate walk.mcap -o answers --topic /head/image_raw --image compressed\n"
        "  esr annotate monday/* -o out/ --jobs 4 --resume     # bags in a folder\n"
        "  esr annotate monday/* -o /shared/out --engine ray --resume",
        run,
    )
    annotate.add_argument(
        "bags", nargs="+", type=Path, metavar="BAG", help="a bag's folder, or its .mcap or .db3"
    )
    annotate.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help=f"the new bag; of several, the folder they come into (default: BAG{SUFFIX} beside it)",
    )
    annotate.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="TOPIC",
        help="whose images are answered, if there are several; may be given repeatedly",
    )
    annotate.add_argument(
        "--emotion-topic", default="", metavar="TOPIC", help="in place of the node's, /emotion"
    )
    annotate.add_argument(
        "--image", default="", choices=("raw", "compressed"), help="write annotated images too"
    )
    annotate.add_argument(
        "--without-originals", action="store_true", help="write the answers alone"
    )
    annotate.add_argument(
        "--storage", default="", choices=("mcap", "sqlite3"), help="(default: as the bag has it)"
    )
    annotate.add_argument("--overwrite", action="store_true", help="replace what is there")
    annotate.add_argument(
        "--resume", action="store_true", help="go on where an earlier run was interrupted"
    )
    annotate.add_argument("--json", action="store_true", help="one JSON object per bag and line")
    annotate.add_argument(
        "--params-file", type=Path, metavar="YAML", help="the node's parameters; flags are stronger"
    )
    group = annotate.add_argument_group("who does the work (default: threads of this process)")
    group.add_argument("--jobs", type=int, metavar="N", help="so many processes of this machine")
    group.add_argument("--engine", default="local", choices=("local", "ray"), help="ray: a cluster")
    group.add_argument(
        "--ray-address", default="", metavar="HOST:PORT", help="of its head (default: RAY_ADDRESS)"
    )
    pipeline_flags.add(annotate)


def run(arguments: argparse.Namespace) -> None:
    """Annotate bag after bag; what became of each is said as soon as it is known.

    Raises:
        OptionError: there is no ROS, or options that do not go together.
        EsrError: of the first bag that cannot be annotated; the others are left.
    """
    fleet = ros_modules.module("annotation.batch")
    if arguments.jobs is not None and not 1 <= arguments.jobs <= 1024:
        raise OptionError(f"--jobs must be from 1 to 1024, but got {arguments.jobs}")
    pairs = list(zip(arguments.bags, _outputs(arguments)))
    try:
        _annotate(arguments, fleet, pairs)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same with --resume goes on") from stop


def _annotate(arguments: argparse.Namespace, fleet: Any, pairs: List[Any]) -> None:
    answers = sys.stdout
    # Ray tells of dead workers on stdout, where only answers belong.
    with redirect_stdout(sys.stderr), bar("images") as progress:
        task = progress.add_task("", total=None)

        def show(bag: Path, done: int, total: int) -> None:
            if done == 0:  # the rate is that of this bag
                progress.reset(task, description=bag.name, total=total)
            progress.update(task, completed=done)

        for report in fleet.annotate_all(arguments, pipeline_flags.given(arguments), pairs, show):
            _tell(report, arguments.json, answers, progress.console)


def _outputs(arguments: argparse.Namespace) -> List[Path]:
    """Return where each bag's answers come; what is in such a folder is replaced."""
    bags, output = arguments.bags, arguments.output
    read = [*bags, *pipeline_flags.files(arguments), *filter(None, [arguments.params_file])]
    kept = {place for each in map(Path.resolve, read) for place in (each, *each.parents)}
    if output is not None and len(bags) == 1:
        made = [output]
    else:
        made = [
            (_named(bag).parent if output is None else output) / (_stem(bag) + SUFFIX)
            for bag in bags
        ]
    places = [each.resolve() for each in made]
    for bag, place in zip(bags, places):
        if places.count(place) > 1:
            raise OptionError(f"{bag}: another bag would be answered in {place} too")
        if place in kept:
            raise OptionError(f"--output would overwrite {place}, which is read; name another")
    return made


def _named(bag: Path) -> Path:
    """Return a path whose last part is a name, not ``.`` or ``..``."""
    return bag if bag.name not in ("", "..") else bag.resolve()


def _stem(bag: Path) -> str:
    return bag.stem if bag.suffix in (".mcap", ".db3") else _named(bag).name


def _tell(report: Any, as_json: bool, answers: IO[str], console: Console) -> None:
    if as_json:
        print(json.dumps(asdict(report)), file=answers, flush=True)
    elif not (console.is_terminal and answers.isatty()):
        print(_line(report), file=answers, flush=True)
    else:  # above the bar
        console.print(_line(report), highlight=False, soft_wrap=True, markup=False)
    for said in [*(f"damaged: {each}" for each in report.damage), *report.left_out]:
        print(f"esr annotate: {report.bag}: {said}", file=sys.stderr)
    if report.undecodable:
        print(
            f"esr annotate: {report.bag}: {report.undecodable} of {report.images} images cannot be "
            f"decoded; the first: {report.first_error}",
            file=sys.stderr,
        )


def _line(report: Any) -> str:
    if report.is_done_before:
        return f"{report.output}: is there already"
    rate = report.recorded_s / max(report.elapsed_s, 1e-3)
    resumed = f", {report.resumed} of an earlier run" if report.resumed else ""
    return (
        f"{report.output}: {report.answered} of {report.images} images answered{resumed}, "
        f"{report.faces} face{'' if report.faces == 1 else 's'} in {report.with_faces}; "
        f"{report.recorded_s:.1f} s in {report.elapsed_s:.1f} s, {rate:.1f} times real time"
    )
