"""Inference with ONNX Runtime: one call for all faces of a frame."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import ImageError, ModelError, OptionError
from esr_core.inference import tensorrt_cache
from esr_core.inference.execution_providers import open_session
from esr_core.inference.metadata import ModelMetadata
from esr_core.perception.arrays import Floats, Votes

#: Key of the metadata in a ``.onnx`` file of this project.
METADATA_KEY = "esr"
#: Input names of a ``.onnx`` file. The last two exist in files with early exit, see
#: :mod:`esr_core.network.onnx_export`.
INPUT, BRANCHES, LEAD = "faces", "branches", "lead"
#: The network that ships with the package.
DEFAULT_MODEL = "esr-9-ferplus-int8.onnx"
_TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
#: Value of ``branches`` for early exit.
ADAPTIVE = "adaptive"


class Prediction(NamedTuple):
    """The output of the ensemble for n faces."""

    probabilities: Floats  # (n, 8), rows sum to 1
    affect: Floats  # (n, 2) valence, arousal in [-1, 1]
    votes: Votes  # (n, branches)


class BranchPrediction(NamedTuple):
    """A :class:`Prediction` with the outputs of each branch."""

    probabilities: Floats  # (n, 8)
    affect: Floats  # (n, 2)
    votes: Votes  # (n, branches)
    branch_emotions: Floats  # (n, branches, 8) logits
    branch_affect: Floats  # (n, branches, 2) not clipped to [-1, 1]


class Model:
    """A network on one execution provider."""

    def __init__(self, path: Path, provider: str, threads: int) -> None:
        self._session, chosen, self._engines = open_session(path, provider, threads)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ModelError(f"{path}: not a network of this project; make one with 'esr export'")
        self.metadata = ModelMetadata.from_json(text, str(path))
        faces, *_ = self._session.get_inputs()
        self._outputs = {output.name: output for output in self._session.get_outputs()}
        required, size = BranchPrediction._fields, self.metadata.input.size_px
        if faces.shape[1:] != [3, size, size] or not self._outputs.keys() >= set(required):
            raise ModelError(
                f"{path}: input must be (n, 3, {size}, {size}) and outputs {required}, "
                f"but are {faces.shape} and {sorted(self._outputs)}"
            )
        self.path = path
        self.provider = chosen.name
        self._sizes = chosen.sizes
        self._input = faces.name
        optional = {i.name for i in self._session.get_overridable_initializers()}
        #: True if the network can stop after its first branch, which then takes less time.
        self.has_early_exit = chosen.has_optional_inputs and optional >= {BRANCHES, LEAD}
        #: The exit margin of ``adaptive``: minimum lead of a face's most probable emotion.
        self.lead = self.metadata.lead

    def check_branches(self, branches: Union[int, str]) -> None:
        """Raise OptionError unless ``branches`` is ``adaptive``, or a number that the file has."""
        most = self.metadata.branches
        if isinstance(branches, int) and not 1 <= branches <= most:
            raise OptionError(
                f"branches must be {ADAPTIVE}, or from 1 to {most} for {self.metadata.name}, but "
                f"got {branches!r}"
            )

    def predict(self, batch: Floats, branches: Union[int, str] = 0) -> Prediction:
        """Return the prediction for n faces, 0 or more.

        batch: (n, 3, size, size) float32 in [0, 1], as ``crop`` returns them.
        branches: maximum number of branches to evaluate, in order; 0: all; ``adaptive``: the first,
        and all others for faces whose most probable emotion leads by less than ``lead``. Files
        without early exit (fp16, for TensorRT), and OpenVINO, always evaluate all.

        Raises:
            ImageError: the batch has another shape or type.
            OptionError: ``branches`` is none of these.
        """
        return Prediction(*self._run(batch, Prediction._fields, branches))

    def predict_branches(self, batch: Floats) -> BranchPrediction:
        """Return the prediction of :meth:`predict` with the outputs of each branch."""
        return BranchPrediction(*self._run(batch, BranchPrediction._fields))

    def _run(
        self, batch: Floats, names: Tuple[str, ...], branches: Union[int, str] = 0
    ) -> List[Any]:
        size = self.metadata.input.size_px
        if batch.ndim != 4 or batch.shape[1:] != (3, size, size) or batch.dtype != np.float32:
            raise ImageError(
                f"batch must be (n, 3, {size}, {size}) float32, but got {batch.shape} {batch.dtype}"
            )
        if branches != ADAPTIVE and (not isinstance(branches, (int, np.integer)) or branches < 0):
            raise OptionError(f"branches must be {ADAPTIVE}, or 0 for all, or more: {branches!r}")
        if len(batch) == 0:
            outputs = [self._outputs[name] for name in names]
            return [np.zeros((0, *each.shape[1:]), _TYPES[each.type]) for each in outputs]
        inputs: Dict[str, NDArray[Any]] = {}
        if branches == ADAPTIVE and self.has_early_exit:
            inputs[LEAD] = np.array(self.lead, np.float32)
        elif branches and self.has_early_exit:
            inputs[BRANCHES] = np.array(branches, np.int64)
        pieces = [
            self._session.run(list(names), {**inputs, self._input: piece})
            for piece in _filled(batch, self._sizes)
        ]
        return [np.concatenate(parts)[: len(batch)] for parts in zip(*pieces)]

    def warm_up(self, faces: int = 1) -> None:
        """Run once, so that the first real face does not wait for allocations.

        faces: expected maximum per call; relevant where each new batch size costs time.
        """
        size = self.metadata.input.size_px
        # ONNX Runtime before 1.15 builds engines only when a batch of a new size arrives.
        with tensorrt_cache.locked(self._engines) if self._engines else nullcontext():
            for count in [each for each in self._sizes or (1,) if each < 2 * faces]:
                self.predict(np.zeros((count, 3, size, size), np.float32))


def _filled(batch: Floats, sizes: Tuple[int, ...]) -> List[Floats]:
    """Split a batch at the largest of ``sizes``; pad the last piece with zeros to one of them."""
    if not sizes or len(batch) in sizes:
        return [batch]
    pieces = [batch[i : i + sizes[-1]] for i in range(0, len(batch), sizes[-1])]
    missing = next(size for size in sizes if size >= len(pieces[-1])) - len(pieces[-1])
    pieces[-1] = np.concatenate([pieces[-1], np.zeros((missing, *batch.shape[1:]), np.float32)])
    return pieces


def load_model(
    path: Optional[Union[str, os.PathLike[str]]] = None, provider: str = "auto", threads: int = 0
) -> Model:
    """Load a ``.onnx`` file of ``esr export``, by default the network that ships.

    threads: number of CPU threads; 0: all cores that the process may use.

    Raises:
        ModelError: the file is missing, damaged or not of this project, or the provider is not in
            this build of ONNX Runtime or does not work on this machine.
    """
    chosen = Path(path) if path else default_model()
    if not os.path.isfile(chosen):  # Path.is_file() raises PermissionError
        raise ModelError(f"{chosen}: no such model file, or no permission")
    return Model(chosen, provider, threads)


def default_model() -> Path:
    """Return the path of the network that ships, as :func:`shipped_file`."""
    return shipped_file(DEFAULT_MODEL, "install the package again")


def shipped_file(name: str, advice: str) -> Path:
    """Return a path in ``models/``, installed or of a clone, or raise ModelError with advice."""
    for root in list(Path(__file__).resolve().parents)[1:3]:  # no slices before Python 3.10
        path = root / "models" / name
        if path.exists():
            return path
    raise ModelError(f"models/{name}: missing; {advice}")
