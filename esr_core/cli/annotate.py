"""``esr annotate``: the command line; the work is done by :mod:`esr_ros.annotation`."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, List

from rich.console import Console

from esr_core.cli import pipeline_flags
from esr_core.cli.command import command, given, note, ros_module
from esr_core.errors import OptionError
from esr_core.pipeline import PipelineOptions
from esr_core.progress import bar

#: Ending of the name of a new bag.
SUFFIX = "_emotions"


def add(commands: Any) -> None:
    """Declare the command."""
    annotate = command(commands, "annotate", run)
    flag = annotate.add_argument
    flag("bags", nargs="+", type=Path, metavar="BAG", help="a bag's folder, or its .mcap or .db3")
    output_help = f"the new bag, or the folder of several (default: BAG{SUFFIX} beside it)"
    flag("-o", "--output", type=Path, metavar="OUT", help=output_help)
    topic_help = "image topic to process, if there are several; may be repeated"
    flag("--topic", action="append", default=[], metavar="TOPIC", help=topic_help)
    flag("--emotion-topic", default="", metavar="TOPIC", help="in place of the node's, /emotion")
    flag("--image", default="", choices=("raw", "compressed"), help="write annotated images too")
    only = "write only the results, without other topics and attachments"
    flag("--without-originals", dest="originals", action="store_false", help=only)
    flag("--storage", default="", choices=("mcap", "sqlite3"), help="(default: that of the bag)")
    flag("--overwrite", action="store_true", help="replace an existing output")
    flag("--resume", action="store_true", help="continue an interrupted run")
    flag("--json", action="store_true", help="print one JSON object per bag and line")
    flag("--params-file", type=Path, metavar="YAML", help="the node's parameters; flags override")
    flag = annotate.add_argument_group("workers (default: threads of this process)").add_argument
    flag("--jobs", type=int, metavar="N", help="number of processes on this machine")
    flag("--engine", default="local", choices=("local", "ray"), help="ray: a cluster")
    flag("--ray-address", default="", metavar="HOST:PORT", help="its head (default: RAY_ADDRESS)")
    pipeline_flags.add(annotate)


def run(arguments: argparse.Namespace) -> None:
    """Write copies of recorded ROS 2 bags with the node's results for their images. Needs ROS 2.

    examples:
      esr annotate walk/                          # makes walk_emotions/
      esr annotate walk.mcap -o answers --topic /head/image_raw --image compressed
      esr annotate monday/* -o out/ --jobs 4 --resume     # bags in a folder
      esr annotate monday/* -o /shared/out --engine ray --resume
    """
    batch = ros_module("annotation.batch")
    pairs = list(zip(arguments.bags, _outputs(arguments)))
    file = arguments.params_file
    parameters, ignored = batch.pipeline_parameters(file) if file else ({}, [])
    if ignored:
        note(arguments, f"{file}: ignored, as they are for all nodes: {', '.join(ignored)}")
    options = PipelineOptions(**{**parameters, **given(arguments, PipelineOptions)})
    names = ("emotion_topic", "image", "originals", "storage", "overwrite", "resume")
    others = {name: getattr(arguments, name) for name in names}
    job = batch.AnnotationJob(options, tuple(arguments.topic), **others)
    stdout, failed = sys.stdout, []
    try:
        # Ray reports dead workers on stdout, which is for the results.
        with redirect_stdout(sys.stderr), bar("images") as progress:
            task = progress.add_task("", total=None)

            def show(bag: Path, done: int, total: int) -> None:
                if done == 0:  # the rate is that of this bag
                    progress.reset(task, description=bag.name, total=total)
                progress.update(task, completed=done)

            workers = (arguments.jobs, arguments.engine, arguments.ray_address)
            for report in batch.annotate_all(job, pairs, show, *workers):
                _print(report, arguments, stdout, progress.console)
                failed += [report.bag] if report.error else []
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("the same command with --resume continues") from stop
    if failed:
        text = f"{len(failed)} of {len(pairs)} bags failed: {', '.join(failed)}"
        note(arguments, text, is_answered=False)


def _outputs(arguments: argparse.Namespace) -> List[Path]:
    """Return the output of each bag; an existing folder there may be replaced."""
    bags, output = arguments.bags, arguments.output
    read = [*bags, *pipeline_flags.files(arguments), *filter(None, [arguments.params_file])]
    kept = {place for each in map(Path.resolve, read) for place in (each, *each.parents)}
    outputs = []
    for bag in bags:
        named = bag.resolve() if bag.name in ("", "..") else bag  # no name: the folder . or ..
        stem = bag.stem if bag.suffix in (".mcap", ".db3") else named.name
        outputs.append((output or named.parent) / (stem + SUFFIX))
    if output and len(bags) == 1:
        outputs = [output]
    places = [each.resolve() for each in outputs]
    for bag, place in zip(bags, places):
        if places.count(place) > 1:
            raise OptionError(f"{bag}: another bag has the same output, {place}")
        if place in kept:
            raise OptionError(f"--output would overwrite {place}, which is read; name another")
    return outputs


def _print(report: Any, arguments: argparse.Namespace, stdout: IO[str], console: Console) -> None:
    line = json.dumps(asdict(report)) if arguments.json else _line(report)
    if arguments.json or not (console.is_terminal and stdout.isatty()):
        print(line, file=stdout, flush=True)
    else:  # above the bar
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    unanswered = [f"failed: {report.error}"] if report.error else []
    unanswered += [*(f"damaged: {each}" for each in report.damage), *report.left_out]
    if report.undecodable:
        count = f"{report.undecodable} of {report.images} images"
        unanswered.append(f"{count} cannot be decoded; the first: {report.first_error}")
    for text in unanswered:
        note(arguments, f"{report.bag}: {text}", is_answered=False)
    for text in (*report.limits, *report.assumed):
        note(arguments, f"{report.bag}: {text}")


def _line(report: Any) -> str:
    if report.error:
        return f"{report.output}: failed"
    if report.is_done_before:
        return f"{report.output}: is complete already"
    rate = report.recorded_s / max(report.elapsed_s, 1e-3)
    resumed = f", {report.resumed} by an earlier run" if report.resumed else ""
    return (
        f"{report.output}: {report.answered} of {report.images} images answered{resumed}, "
        f"{report.faces} face{'' if report.faces == 1 else 's'} in {report.with_faces}; "
        f"{report.recorded_s:.1f} s in {report.elapsed_s:.1f} s, {rate:.1f} times real time"
    )
