"""Running a network: ONNX Runtime, one call for all faces of a frame."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import ImageError, ModelError, OptionError
from esr_core.inference.execution_providers import open_session
from esr_core.inference.metadata import ModelMetadata
from esr_core.inference.tensorrt_cache import seal

#: The key under which a ``.onnx`` file of this project holds its metadata.
METADATA_KEY = "esr"
#: The names of an ``.onnx`` file's inputs. Files whose branches take turns know the last two, see
#: :mod:`esr_core.network.early_exit`.
INPUT, BRANCHES, LEAD = "faces", "branches", "lead"
#: The weights that ship with the package.
DEFAULT_MODEL = "esr-9-ferplus-int8.onnx"

#: What ``branches`` may be besides a number: a face is asked about until it is decided.
ADAPTIVE = "adaptive"


class Prediction(NamedTuple):
    """What the ensemble says about n faces."""

    probabilities: NDArray[np.float32]  # (n, 8), rows sum to 1
    affect: NDArray[np.float32]  # (n, 2) valence, arousal in [-1, 1]
    votes: NDArray[np.int64]  # (n, branches) what each thinks most likely; -1: was not asked


class BranchPrediction(NamedTuple):
    """A :class:`Prediction`, and what each branch said before they were counted."""

    probabilities: NDArray[np.float32]  # (n, 8)
    affect: NDArray[np.float32]  # (n, 2)
    votes: NDArray[np.int64]  # (n, branches)
    branch_emotions: NDArray[np.float32]  # (n, branches, 8) logits
    branch_affect: NDArray[np.float32]  # (n, branches, 2) not kept in [-1, 1]


class Model:
    """A network on one execution provider."""

    def __init__(self, path: Path, provider: str, threads: int) -> None:
        self._session, chosen, self._engines = open_session(path, provider, threads)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ModelError(f"{path}: not a network of this project; make one with 'esr export'")
        self.metadata = ModelMetadata.from_json(text, str(path))
        inputs = self._session.get_inputs()
        given = [list(i.shape[1:]) for i in inputs[:1]]
        self._answers = {output.name for output in self._session.get_outputs()}
        size = self.metadata.input.size_px
        if given != [[3, size, size]] or not self._answers.issuperset(Prediction._fields):
            raise ModelError(
                f"{path}: must take faces (n, 3, {size}, {size}) and give {Prediction._fields}, "
                f"but takes {given} and gives {sorted(self._answers)}"
            )
        self.path = path
        self.provider = chosen.name
        self._sizes = chosen.sizes
        self._input = inputs[0].name
        optional = {i.name for i in self._session.get_overridable_initializers()}
        #: Whether branches are asked in turns, so that asking fewer takes less time.
        self.takes_turns = optional.issuperset((BRANCHES, LEAD))
        #: By how much the likeliest emotion of a face must lead for ``adaptive`` to ask no more.
        self.lead = self.metadata.lead

    def predict(self, batch: NDArray[np.float32], branches: Union[int, str] = 0) -> Prediction:
        """Answer for faces (n, 3, 96, 96) float32 in [0, 1], as ``crop`` makes them; n may be 0.

        branches: at most so many, the first, are asked; 0: all; ``adaptive``: those after which the
        mean of a face's likeliest emotion leads by the metadata's ``lead`` are not. Files that do
        not take turns (fp16, for TensorRT) always ask all.

        Raises:
            ImageError: the batch has another shape or type.
            OptionError: ``branches`` is none of these.
        """
        return Prediction(*self._run(batch, Prediction._fields, branches))

    def predict_branches(self, batch: NDArray[np.float32]) -> BranchPrediction:
        """As :meth:`predict`, with what each branch said.

        Raises:
            ImageError: the batch has another shape or type.
            ModelError: the file was exported without it.
        """
        if not self.knows_branches:
            raise ModelError(f"{self.path}: does not tell what each branch said; export it anew")
        return BranchPrediction(*self._run(batch, BranchPrediction._fields))

    @property
    def knows_branches(self) -> bool:
        """Whether :meth:`predict_branches` can be used."""
        return self._answers.issuperset(BranchPrediction._fields)

    def _run(
        self, batch: NDArray[np.float32], names: Tuple[str, ...], branches: Union[int, str] = 0
    ) -> List[Any]:
        size = self.metadata.input.size_px
        if batch.ndim != 4 or batch.shape[1:] != (3, size, size) or batch.dtype != np.float32:
            raise ImageError(
                f"batch must be (n, 3, {size}, {size}) float32, but got {batch.shape} {batch.dtype}"
            )
        if len(batch) == 0:
            branches, labels = self.metadata.branches, len(self.metadata.labels)
            empty = BranchPrediction(
                np.zeros((0, labels), np.float32),
                np.zeros((0, 2), np.float32),
                np.zeros((0, branches), np.int64),
                np.zeros((0, branches, labels), np.float32),
                np.zeros((0, branches, 2), np.float32),
            )
            return list(empty[: len(names)])
        if branches != ADAPTIVE and (not isinstance(branches, (int, np.integer)) or branches < 0):
            raise OptionError(f"branches must be {ADAPTIVE}, or 0 for all, or more: {branches!r}")
        inputs: Dict[str, NDArray[Any]] = {}
        if branches == ADAPTIVE and self.takes_turns:
            inputs[LEAD] = np.array(self.lead, np.float32)
        elif branches and self.takes_turns:
            inputs[BRANCHES] = np.array(branches, np.int64)
        pieces = [
            self._session.run(list(names), {**inputs, self._input: piece})
            for piece in _filled(batch, self._sizes)
        ]
        if len(pieces) == 1:
            return [output[: len(batch)] for output in pieces[0]]
        return [np.concatenate(parts)[: len(batch)] for parts in zip(*pieces)]

    def warm_up(self, faces: int = 1) -> None:
        """Run, so that the first real face does not wait for allocations.

        faces: as many may come at once; counts where each new size of a batch costs time.
        """
        size = self.metadata.input.size_px
        first, *larger = self._sizes or (1,)
        for count in [first, *(count for count in larger if count < 2 * faces)]:
            self.predict(np.zeros((count, 3, size, size), np.float32))
        if self._engines:  # old versions build them not before a batch of that size has come
            seal(self._engines.folder, self._engines)


def _filled(batch: NDArray[np.float32], sizes: Tuple[int, ...]) -> List[NDArray[np.float32]]:
    """Cut a batch at the largest of ``sizes``; fill the rest up with zeros to one of them."""
    if not sizes or len(batch) in sizes:
        return [batch]
    pieces = [batch[i : i + sizes[-1]] for i in range(0, len(batch), sizes[-1])]
    missing = next(size for size in sizes if size >= len(pieces[-1])) - len(pieces[-1])
    pieces[-1] = np.concatenate([pieces[-1], np.zeros((missing, *batch.shape[1:]), np.float32)])
    return pieces


def load_model(
    path: Optional[Union[str, os.PathLike[str]]] = None, provider: str = "auto", threads: int = 0
) -> Model:
    """Load a ``.onnx`` file that ``esr export`` made, or without a path the model that ships.

    ``threads`` 0 lets ONNX Runtime take all cores.

    Raises:
        ModelError: the file is missing, damaged, not of this project, or the provider is not
            in this build of ONNX Runtime or does not work here.
    """
    chosen = Path(path) if path else default_model()
    if not chosen.is_file():
        raise ModelError(f"{chosen}: no such model file")
    return Model(chosen, provider, threads)


def default_model() -> Path:
    """Return the path of the shipped network.

    Raises:
        ModelError: it is missing.
    """
    found = shipped_file(DEFAULT_MODEL)
    if found is None:
        raise ModelError(f"models/{DEFAULT_MODEL}: missing; install the package again")
    return found


def shipped_file(name: str) -> Optional[Path]:
    """Return a file or folder of ``models/``, of the installed package or of a clone, or None."""
    package = Path(__file__).resolve().parents[1]
    found = (folder / "models" / name for folder in (package, package.parent))
    return next((path for path in found if path.exists()), None)
