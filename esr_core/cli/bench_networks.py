"""Cases of ``esr bench``: networks on engines, and the accuracy of their early exit."""

from __future__ import annotations

import argparse
import importlib.util
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np
from rich.progress import Progress

from esr_core.benchmark.cases import FORMS, ON_GPU, Case
from esr_core.benchmark.reference_figures import PUBLISHED
from esr_core.benchmark.runner import Timing
from esr_core.errors import INSTALL_TRAINING, OptionError
from esr_core.inference.onnx_model import ADAPTIVE, Model
from esr_core.network.complexity import METHODS, cost
from esr_core.perception.preprocessing import whole

#: The published network whose trained weights ship, and the name of that file in the tables.
SHIPPED, SHIPS = "ESR-9", "ESR-9 ships"
#: Number of validation faces that time the early exit.
FACES = 200
#: Exit margins of the curve of accuracy over time; with 2 all branches are evaluated.
EXIT_MARGINS = (0.0, 0.1, 0.2, 0.26, 0.5, 0.8, 2.0)
#: The files for a provider; the last is the fastest.
_EXPORTS = {"cuda": ("fp32", "fp16"), "tensorrt": ("fp16", "symmetric")}
HAS_TORCH = importlib.util.find_spec("torch") is not None
NO_TORCH = (
    "PyTorch is not installed. Without it there is no comparison, and only the shipped network, or "
    f"the one of --model, can be timed. To install it, {INSTALL_TRAINING}."
)


def cases(
    arguments: argparse.Namespace, model: Model, folder: Path, progress: Progress
) -> List[Case]:
    """Return the requested cases; untrained networks and faces are written to ``folder``.

    model: that of ``--model``, or the shipped one.

    Raises:
        OptionError: the request needs PyTorch, or a trained network.
        DataError: the file of faces is missing or damaged.
    """
    methods, counts, about = arguments.networks or METHODS, arguments.faces, model.metadata
    if arguments.data and not arguments.model and SHIPPED not in methods:
        raise OptionError(f"--data is for a trained network: --networks {SHIPPED}, or --model")
    if not (HAS_TORCH or arguments.model) and arguments.networks not in (None, [SHIPPED]):
        raise OptionError(NO_TORCH)
    base = Case("", "onnx", provider=arguments.provider, threads=arguments.threads)
    architecture, faces = (about.branches, about.diversified, about.input.size_px), ""
    if arguments.data:
        from esr_core.data import ferplus

        faces = str(folder / "faces.npy")
        np.save(faces, whole(ferplus.read(arguments.data).subset(FACES).images, about.input))
    name = about.name if arguments.model else SHIPS
    trained = replace(base, network=name, architecture=architecture, faces=faces)
    if arguments.model:
        files = {"this file": model.path}
        return _variants(trained, files, model.has_early_exit, HAS_TORCH, counts)
    shipped = _variants(trained, {"INT8": model.path}, model.has_early_exit, False, counts)
    if not HAS_TORCH:
        return shipped
    from esr_core.benchmark import random_networks

    base = replace(base, faces=str(folder / "random.npy"))
    np.save(base.faces, random_networks.faces())
    forms, requested = _EXPORTS.get(base.provider, ("fp32", "INT8")), []
    for method in progress.track(methods, description="making networks"):
        files = random_networks.make(method, folder, forms)
        architecture = (*METHODS[method], random_networks.SIZE_PX)
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


def describe(cases: Sequence[Case], model: Model) -> List[Dict[str, Any]]:
    """Return the properties of the networks as JSON values; untrained ones have no accuracy."""
    networks = []
    for name, case in {case.network: case for case in cases}.items():
        size, accuracy = cost(*case.architecture), None
        published = PUBLISHED.get(SHIPPED if name == SHIPS else name)
        if case.model == str(model.path.absolute()):
            with suppress(KeyError, TypeError, ValueError):  # the record has no fixed format
                accuracy = float(model.metadata.record["validation"]["accuracy"])
        sizes = {"parameters_m": round(size.parameters / 1e6, 2), "gmac": round(size.macs / 1e9, 2)}
        figures = {"accuracy": accuracy, **sizes, "published": published and published._asdict()}
        networks.append({"network": name, **figures})
    return networks


def curve_cases(cases: Sequence[Case], path: Path) -> List[Case]:
    """Return the trained network of a file with several exit margins, one face per call."""
    adaptive = [c for c in cases if c.evaluated == ADAPTIVE and c.model == str(path.absolute())]
    return [replace(case, batch=1, margin=each) for case in adaptive[:1] for each in EXIT_MARGINS]


def curve(
    timings: Sequence[Timing], model: Model, path: Path, progress: Progress
) -> List[Dict[str, Any]]:
    """Return the time of each exit margin, and its accuracy over all faces of a file."""
    from esr_core.data import ferplus
    from esr_core.evaluation.metrics import predictions

    data, points = ferplus.read(path), []
    target = data.emotions.argmax(axis=1)
    predict = partial(model.predict, branches=ADAPTIVE)
    for timing in progress.track(timings, description="accuracy of exit margins"):
        assert timing.case.margin is not None
        model.lead = timing.case.margin
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
