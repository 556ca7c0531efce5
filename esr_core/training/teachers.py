"""Teachers: trained networks whose outputs become a part of the targets.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, with a temperature of
1. A teacher's output for a face is the mean over views of it: the whole face and its middle, each
with its mirror image.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Sequence

import numpy as np
from numpy.typing import NDArray

from esr_core.atomic_write import replacing
from esr_core.data.faces import FaceDataset
from esr_core.errors import AnotherTraining, TrainingError
from esr_core.evaluation.metrics import open_predictor, predictions
from esr_core.perception.preprocessing import InputSpec, whole
from esr_core.progress import counter

#: The outputs of the teachers in the folder of a training.
FILE = "teachers.npz"
#: Share of the width and of the height that the middle of a face leaves out at each border.
BORDER = 0.05
VIEWS = 4


def teach(
    faces: FaceDataset, teachers: Sequence[Path], weight: float, folder: Path, fresh: bool = False
) -> FaceDataset:
    """Return a data set with the outputs of teachers, which are computed once for a folder.

    teachers: ``.onnx`` files or folders of weights. fresh: replace outputs that are in the folder.

    Raises:
        AnotherTraining: the folder has the outputs of other teachers, or for other faces.
        ModelError: a teacher cannot be loaded.
        TrainingError: the file in the folder is damaged.
    """
    path, key = folder / FILE, digest(faces, teachers)
    if path.exists() and not fresh:
        try:
            with np.load(path, allow_pickle=False) as content:
                found, outputs = str(content["key"]), content["outputs"].astype(np.float32)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise TrainingError(
                f"{path}: not the outputs of teachers ({error}); remove it to compute them again"
            ) from error
        if found != key:
            raise AnotherTraining(f"{path} is of other teachers, or for other faces")
    else:
        outputs = _outputs(faces, teachers)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, open(partial, "wb") as file:
            np.savez(file, key=np.array(key), outputs=outputs)
    return replace(faces, taught=outputs, teacher_weight=weight, teachers=key)


def _outputs(faces: FaceDataset, teachers: Sequence[Path]) -> NDArray[np.float32]:
    """Return the mean over teachers and views, (n, 8)."""
    each = []
    for number, teacher in enumerate(teachers, start=1):
        predict, metadata = open_predictor(str(teacher))
        spec, views = metadata.input, partial(_views, metadata.input)
        with counter("faces", f"teacher {number} of {len(teachers)}", len(faces)) as update:
            probabilities, *_ = predictions(predict, faces, spec, 16, update, views)
        each.append(probabilities.reshape(len(faces), VIEWS, -1).mean(axis=1))
    mean: NDArray[np.float32] = np.stack(each).mean(axis=0, dtype=np.float32)
    return mean


def _views(spec: InputSpec, image: NDArray[np.uint8], row: int) -> NDArray[np.float32]:
    rows, columns = (round(BORDER * length) for length in image.shape[:2])
    middle = image[rows : image.shape[0] - rows, columns : image.shape[1] - columns]
    both = whole([image, middle], spec)
    return np.concatenate([both, both[..., ::-1]])


def digest(faces: FaceDataset, teachers: Sequence[Path] = ()) -> str:
    """Return a hash of the teachers' files and of all images."""
    key = hashlib.sha256()
    for teacher in teachers:
        files = sorted(teacher.glob("*.pt")) if teacher.is_dir() else [teacher]
        for file in filter(Path.is_file, files):
            key.update(hashlib.sha256(file.read_bytes()).digest())
    for start in range(0, len(faces), 256):
        key.update(faces.load(range(start, min(start + 256, len(faces)))).tobytes())
    return key.hexdigest()
