"""Who takes part in ``esr bench``: networks, in files, on engines."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from rich.progress import Progress

from esr_core.benchmark.reference_figures import PUBLISHED
from esr_core.benchmark.worker import FORMS, ON_GPU, Contestant
from esr_core.errors import INSTALL_TRAINING, OptionError
from esr_core.inference.onnx_model import ADAPTIVE, Model
from esr_core.network.complexity import METHODS, cost
from esr_core.perception.preprocessing import whole

#: The published network that ships, trained, and what its file is called in the tables.
SHIPPED, SHIPS = "ESR-9", "ESR-9 ships"
#: Validation faces by which branches that take turns are timed.
FACES = 200
#: Leads at which accuracy and time are drawn; 2: never decided before all branches answered.
LEADS = (0.0, 0.1, 0.2, 0.26, 0.5, 0.8, 2.0)
NO_TORCH = (
    "PyTorch is not installed: so nothing is compared with it, and only the network that ships, or "
    f"the one of --model, can be timed. To install it, {INSTALL_TRAINING}."
)


@dataclass(frozen=True)
class Entrant:
    """A network that is timed, in one or more files."""

    name: str
    branches: int
    diversified: bool
    size_px: int
    files: Dict[str, Path]  # what each is called in the table; the last may take turns
    model: Optional[Model] = None  # of a trained one
    faces: str = ""  # an .npy file; without one, adaptive is not timed
    beside_torch: bool = True  # or else another entrant of its form is

    @property
    def form(self) -> Tuple[int, bool, int]:
        """Branches, whether it is an ESR*, and the side of its input in px."""
        return self.branches, self.diversified, self.size_px


@dataclass(frozen=True)
class Lane:
    """A row of the table, before it is measured."""

    entrant: Entrant
    contestant: Contestant


def entrants(
    arguments: argparse.Namespace, model: Model, folder: Path, progress: Progress, torch: bool
) -> List[Entrant]:
    """Return the networks that were asked for; those that nobody trained are made in ``folder``.

    model: of ``--model``, or the one that ships.

    Raises:
        OptionError: without PyTorch, or untrained, they cannot be had as asked for.
        DataError: a file of faces is missing or damaged.
    """
    if arguments.model:
        return [_trained(model.metadata.name, model, arguments.data, folder)]
    methods = arguments.networks or list(METHODS)
    if arguments.data and SHIPPED not in methods:
        raise OptionError(f"--data is for a trained network: --networks {SHIPPED}, or --model")
    if not torch and arguments.networks not in (None, [SHIPPED]):
        raise OptionError(NO_TORCH)
    ships = [_trained(SHIPS, model, arguments.data, folder)] if SHIPPED in methods else []
    if not torch:
        return ships
    from esr_core.benchmark import random_networks

    faces = folder / "blots.npy"
    np.save(faces, random_networks.faces())
    made = []
    task = progress.add_task("making networks", total=len(methods))
    for method in methods:
        files = random_networks.make(method, folder, _forms(arguments.provider))
        made.append(
            Entrant(method, *METHODS[method], random_networks.SIZE_PX, files, None, str(faces))
        )
        progress.advance(task)
    return [made[0], *(replace(each, beside_torch=False) for each in ships), *made[1:]]


def _forms(provider: str) -> Tuple[str, ...]:
    """What a provider runs best is the last."""
    return {"cuda": ("fp32", "fp16"), "tensorrt": ("fp16", "symmetric")}.get(
        provider, ("fp32", "INT8")
    )


def _trained(name: str, model: Model, data: Optional[Path], folder: Path) -> Entrant:
    about, faces = model.metadata, ""
    if data:
        from esr_core.data import ferplus

        faces = str(folder / "faces.npy")
        np.save(faces, whole(ferplus.read(data).subset(FACES).images, about.input))
    files = {"INT8" if name == SHIPS else "this file": model.path}
    size_px = about.input.size_px
    return Entrant(name, about.branches, about.diversified, size_px, files, model, faces)


def lanes(entrant: Entrant, count: int, arguments: argparse.Namespace, torch: bool) -> List[Lane]:
    """Return a network's rows with ``count`` faces in a call."""
    shared: Dict[str, Any] = {
        "provider": arguments.provider,
        "threads": arguments.threads,
        "size_px": entrant.size_px,
        "batch": count,
        "faces": entrant.faces,
    }
    chosen = []
    if torch and entrant.beside_torch:
        for form in FORMS if arguments.provider in ON_GPU else FORMS[:1]:
            name = "PyTorch" if form == "eager" else f"PyTorch {form}"
            network = Contestant(name, "torch", branches=entrant.branches, form=form, **shared)
            chosen.append(replace(network, diversified=entrant.diversified))
    onnx = [
        Contestant(name, "onnx", str(file.absolute()), **shared)
        for name, file in entrant.files.items()
    ]
    takes_turns = entrant.model.has_early_exit if entrant.model else arguments.provider == "cpu"
    if entrant.faces and takes_turns:
        onnx.append(replace(onnx[-1], name="adaptive", branches=ADAPTIVE))
    return [Lane(entrant, contestant) for contestant in [*chosen, *onnx]]


def networks(entrants: Sequence[Entrant]) -> List[Dict[str, Any]]:
    """What is known about the networks before they are timed."""
    told = []
    for entrant in entrants:
        size, accuracy = cost(*entrant.form), None
        published = PUBLISHED.get(SHIPPED if entrant.name == SHIPS else entrant.name)
        if entrant.model:
            with suppress(KeyError, TypeError, ValueError):  # anybody may have written it
                accuracy = float(entrant.model.metadata.record["validation"]["accuracy"])
        told.append(
            {
                "network": entrant.name,
                "accuracy": accuracy,  # None: nobody trained it
                "parameters_m": round(size.parameters / 1e6, 2),
                "gmac": round(size.macs / 1e9, 2),
                "published": published._asdict() if published else None,
            }
        )
    return told


def curve(lanes: Sequence[Lane]) -> List[Contestant]:
    """The trained network at several leads, one face at a time."""
    for lane in lanes:
        if lane.entrant.model and lane.contestant.branches == ADAPTIVE:
            return [replace(lane.contestant, batch=1, lead=lead) for lead in LEADS]
    return []
