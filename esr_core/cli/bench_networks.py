"""The networks of ``esr bench``: their cases on engines, and the measured figures."""

from __future__ import annotations

import argparse
import importlib.util
import platform
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from rich.progress import Progress

from esr_core.benchmark.cases import FORMS, ON_GPU, Case
from esr_core.benchmark.energy import find_meters
from esr_core.benchmark.reference_figures import PUBLISHED
from esr_core.benchmark.runner import Timing, measure
from esr_core.errors import INSTALL_TRAINING, OptionError
from esr_core.inference.execution_providers import chosen, device
from esr_core.inference.metadata import PUBLISHED_INPUT
from esr_core.inference.onnx_model import ADAPTIVE, Model, load_model
from esr_core.network.complexity import METHODS, cost
from esr_core.perception.preprocessing import whole
from esr_core.process import keep_freed_memory, usable_cores

#: The published network whose trained weights ship, and the name of that file in the tables.
SHIPPED, SHIPS = "ESR-9", "ESR-9 ships"
#: Number of validation faces that time the early exit.
FACES = 200
#: Exit margins of the curve of accuracy over time; with 2 all branches are evaluated.
EXIT_MARGINS = (0.0, 0.07, 0.14, 0.26, 0.5, 0.8, 2.0)
#: The files for a provider; the last is the fastest.
_EXPORTS = {"cuda": ("fp32", "fp16"), "tensorrt": ("fp16", "symmetric")}
#: The product of matrices that is the peak for an engine.
_PEAKS = {"PyTorch": "fp32", "fp32": "fp32", "INT8": "int8"}
#: Faces per training step.
TRAINING_BATCH = 64
HAS_TORCH = importlib.util.find_spec("torch") is not None
NO_TORCH = (
    "PyTorch is not installed. Without it there is no comparison, and only the shipped network, or "
    f"the one of --model, can be timed. To install it, {INSTALL_TRAINING}."
)


def results(arguments: argparse.Namespace, folder: Path, progress: Progress) -> Dict[str, Any]:
    """Return all figures as JSON values; untrained networks and faces are written to ``folder``.

    Raises:
        OptionError: the request needs PyTorch, or a trained network.
        DataError: the file of faces is missing or damaged.
    """
    if arguments.training:
        model, kinds, cases = None, *_training_cases(arguments)
    else:
        model = load_model(arguments.model or None, arguments.provider)
        arguments.provider = chosen(model.provider)  # the one that auto takes
        # PyTorch and onnx are installed together.
        kinds = ["int8", "fp32"] if HAS_TORCH and arguments.provider == "cpu" else []
        cases = _cases(arguments, model, folder, progress)
    peaks = [Case(f"peak {kind}", "matmul", kind, threads=arguments.threads) for kind in kinds]
    own = model and str(model.path.absolute())
    adaptive = [case for case in cases if case.evaluated == ADAPTIVE and case.model == own][:1]
    margins = EXIT_MARGINS if arguments.plot else ()
    curve = [replace(case, batch=1, margin=each) for case in adaptive for each in margins]
    task = progress.add_task("timing", total=arguments.rounds)
    turns, on_round = (arguments.rounds, arguments.calls), partial(progress.advance, task)
    meters = find_meters() if model else []
    timings = iter(measure([*peaks, *cases, *curve], *turns, meters, on_round))
    peak = {kind: next(timings) for kind in kinds}
    rows = [next(timings) for _ in cases]
    # The baseline is PyTorch with the same architecture and batch size.
    key = attrgetter("case.architecture", "case.batch")
    baselines = {key(row): row for row in rows if row.case.name == "PyTorch"}
    engine = device() if model else f"PyTorch {version('torch')}"
    return {
        "machine": f"{_processor()}, {usable_cores()} cores, {engine}",
        "provider": arguments.provider,
        "threads": arguments.threads,
        "networks": _networks(cases, model) if model else [],
        "peak_gmac_per_s": {k: round(np.median(v.macs_per_s) / 1e9) for k, v in peak.items()},
        "rows": [
            row.figures(
                baselines.get(key(row)), peak.get(_PEAKS.get(row.case.name, row.case.model))
            )
            for row in rows
        ],
        "curve": _curve([*timings], model, arguments.data, progress) if model and curve else [],
    }


def _training_cases(arguments: argparse.Namespace) -> Tuple[List[str], List[Case]]:
    """Return the kinds of peaks, and a case for each method and batch size."""
    if not HAS_TORCH:
        raise OptionError(NO_TORCH)
    from esr_core.training.config import AUTO
    from esr_core.training.device import resolve_precision, select_device

    on_gpu = arguments.provider in ON_GPU
    precision = resolve_precision(AUTO, select_device("cuda" if on_gpu else "cpu"))
    counts = arguments.faces if arguments.faces != [1] else [TRAINING_BATCH]
    base = Case(f"training {precision}", "training", precision, provider=arguments.provider)
    base = replace(base, threads=arguments.threads)
    cases = [
        replace(base, network=name, architecture=(*METHODS[name], arguments.size_px), batch=count)
        for name in arguments.networks or METHODS
        for count in counts
    ]
    return [] if on_gpu else [precision], cases


def _cases(
    arguments: argparse.Namespace, model: Model, folder: Path, progress: Progress
) -> List[Case]:
    methods, counts, about = arguments.networks or METHODS, arguments.faces, model.metadata
    if arguments.data and not arguments.model and SHIPPED not in methods:
        raise OptionError(f"--data is for a trained network: --networks {SHIPPED}, or --model")
    if not (HAS_TORCH or arguments.model) and arguments.networks not in (None, [SHIPPED]):
        raise OptionError(NO_TORCH)
    base = Case("", "onnx", provider=arguments.provider, threads=arguments.threads)
    name = about.name if arguments.model else SHIPS
    architecture = (about.branches, about.diversified, about.input.size_px)
    trained = replace(base, network=name, architecture=architecture)
    if arguments.data:
        from esr_core.data import ferplus

        trained = replace(trained, faces=str(folder / "faces.npy"))
        images = ferplus.read(arguments.data).subset(FACES).images
        np.save(trained.faces, whole(images, about.input))
    if arguments.model:
        files = {"this file": model.path}
        return _variants(trained, files, model.has_early_exit, HAS_TORCH, counts)
    # PyTorch is timed once for each size.
    other_size = HAS_TORCH and architecture[2] != PUBLISHED_INPUT.size_px
    shipped = _variants(trained, {"INT8": model.path}, model.has_early_exit, other_size, counts)
    if not HAS_TORCH:
        return shipped
    from esr_core.benchmark import random_networks

    base = replace(base, faces=str(folder / "random.npy"))
    np.save(base.faces, random_networks.faces())
    forms, requested = _EXPORTS.get(base.provider, ("fp32", "INT8")), []
    keep_freed_memory(reserve_mb=256)  # of this process, in which nothing is timed
    for method in progress.track(methods, description="making networks"):
        architecture = (*METHODS[method], random_networks.SIZE_PX)
        files = random_networks.make(architecture, folder, forms)
        untrained = replace(base, network=method, architecture=architecture)
        requested += _variants(untrained, files, base.provider == "cpu", True, counts)
        requested += shipped if method == SHIPPED else []
    return requested


def _variants(
    base: Case, files: Mapping[str, Path], early_exit: bool, torch: bool, counts: Sequence[int]
) -> List[Case]:
    """Return the cases of one network: PyTorch, the files, and the early exit of the last file.

    The early exit is timed only with faces, since its time depends on them.
    """
    variants = []
    for form in FORMS[: len(FORMS) if base.provider in ON_GPU else 1] if torch else ():
        name = "PyTorch" if form == "eager" else f"PyTorch {form}"
        variants.append(replace(base, name=name, engine="torch", form=form))
    variants += [replace(base, name=n, model=str(file.absolute())) for n, file in files.items()]
    if early_exit and base.faces:
        variants.append(replace(variants[-1], name="adaptive", evaluated=ADAPTIVE))
    return [replace(case, batch=count) for count in counts for case in variants]


def _networks(cases: Sequence[Case], model: Model) -> List[Dict[str, Any]]:
    """Return the properties of the networks as JSON values; untrained ones have no accuracy."""
    networks = []
    for name, case in {case.network: case for case in cases}.items():
        size, accuracy = cost(*case.architecture), None
        if case.model == str(model.path.absolute()):
            with suppress(KeyError, TypeError, ValueError):  # the record has no fixed format
                accuracy = float(model.metadata.record["validation"]["accuracy"])
        networks.append(
            {
                "network": name,
                "accuracy": accuracy,
                "parameters_m": round(size.parameters / 1e6, 2),
                "gmac": round(size.macs / 1e9, 2),
                "published": PUBLISHED.get(SHIPPED if name == SHIPS else name),
            }
        )
    return networks


def _curve(
    timings: Sequence[Timing], model: Model, path: Path, progress: Progress
) -> List[Dict[str, Any]]:
    """Return the time of each exit margin, and its accuracy over all faces of a file."""
    from esr_core.data import ferplus
    from esr_core.evaluation.metrics import predictions

    data, points = ferplus.read(path), []
    target = data.emotions.argmax(axis=1)
    predict = partial(model.predict, branches=ADAPTIVE)
    tracked = progress.track(timings, description="accuracy of exit margins")
    for timing, margin in zip(tracked, EXIT_MARGINS):
        model.lead = margin
        probabilities, _, votes = predictions(predict, data, model.metadata.input)
        points.append(
            {
                "lead": model.lead,
                "accuracy": round(float((probabilities.argmax(axis=1) == target).mean()), 4),
                "branches_asked": round(float((votes >= 0).sum(axis=1).mean()), 2),
                "p50_ms": timing.figures()["p50_ms"],
                "mean_ms": round(float(timing.times_s.mean() * 1e3), 2),
            }
        )
    return points


def _processor() -> str:
    """Return the name of the processor in Linux, or else its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()
