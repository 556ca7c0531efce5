"""What each branch of a network looked at when it judged a face: heat maps, and pictures of them.

Grad-CAM: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017. LayerCAM: Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation
Maps for Localization", IEEE Transactions on Image Processing 30, 2021.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Sequence

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from esr_core.atomic_write import replacing
from esr_core.emotions import LABELS
from esr_core.errors import ModelError
from esr_core.inference.onnx_model import shipped_file
from esr_core.network import checkpoint
from esr_core.network.esr import ESR, Branch
from esr_core.perception.preprocessing import crop

#: Weights of the network that ships: a folder beside the ``.onnx`` file.
DEFAULT_WEIGHTS = "esr-9-ferplus"
#: Side of a face in a picture, px, and how much of it the heat covers at most.
_SIDE_PX, _COVER = 224, 0.6


class Explanation(NamedTuple):
    """What the branches saw of one emotion in one face."""

    face: NDArray[np.uint8]  # (side, side, 3) RGB, framed as the network sees it
    emotion: int  # an index into LABELS
    maps: NDArray[np.float32]  # (branches, h, w) in [0, 1], each scaled to its peak
    probabilities: NDArray[np.float32]  # (branches, 8), rows sum to 1


def grad_cam(esr: ESR, faces: Tensor, emotions: Tensor) -> Tensor:
    """Return how much each place of the last features speaks for an emotion, unscaled.

    faces: (n, 3, size, size). emotions: (n,) indices into LABELS. Returns (branches, n, h, w), each
    0 or more; (6, 6) for faces of 96 px.

    Grad-CAM (eq. 1 and 2) weights each feature map A by the mean gradient of the emotion's logit,
    adds them up, and keeps what is above 0. A branch ends in the mean over all places and a linear
    layer w, so that gradient is w / (h · w) everywhere.
    """
    with torch.no_grad():
        shared = esr.base(faces)
        maps = []
        for branch in esr.convolutional_branches:
            assert isinstance(branch, Branch)
            features, _ = branch.features(shared)  # (n, 512, h, w)
            weights = branch.fc.weight[emotions] / features[0, 0].numel()  # (n, 512)
            maps.append(torch.einsum("nk,nkij->nij", weights, features).relu())
        return torch.stack(maps)


def layer_cam(esr: ESR, faces: Tensor, emotions: Tensor) -> Tensor:
    """Return how much each place of the shared features speaks for an emotion, to each branch.

    As :func:`grad_cam`, but LayerCAM (eq. 4 to 6): each place of a feature map is weighted by its
    own gradient where that is above 0. So it can be used on features that are fine: (20, 20). Of
    ESR-9 it fits better to what covering parts of a face does to an emotion's logit (correlation
    0.58, Grad-CAM 0.41; 40 validation faces of FER+, squares of 14 px).
    """
    shared = esr.base(faces).detach().requires_grad_()
    maps = []
    for branch in esr.convolutional_branches:
        scores = branch(shared)[0].gather(1, emotions[:, None]).sum()
        (gradient,) = torch.autograd.grad(scores, shared)
        maps.append((gradient.relu() * shared.detach()).sum(dim=1))
    return torch.stack(maps)


class Explainer:
    """Looks at faces as the branches of one network do."""

    def __init__(self, folder: Path, fine: bool = False) -> None:
        """Load weights; ``fine`` takes :func:`layer_cam` in place of :func:`grad_cam`.

        Raises:
            ModelError: the folder holds no weights.
        """
        self._esr, self._metadata = checkpoint.load(folder)
        self._cam = layer_cam if fine else grad_cam

    def look(
        self, rgb: NDArray[np.uint8], boxes: NDArray[np.float32], emotions: Sequence[int]
    ) -> list[Explanation]:
        """Look for an emotion in each face of an image.

        rgb: (h, w, 3). boxes: (n, 4) x1, y1, x2, y2 in px. emotions: n indices into LABELS.
        """
        spec = self._metadata.input
        faces = torch.from_numpy(crop(rgb, boxes, spec))
        with torch.no_grad():
            logits = self._esr(faces).emotions / self._metadata.temperature
        probabilities = logits.softmax(dim=2).numpy()
        maps = self._cam(self._esr, faces, torch.tensor(emotions)).numpy()
        maps = maps / np.maximum(maps.max(axis=(2, 3), keepdims=True), np.finfo(np.float32).tiny)
        sharp = crop(rgb, boxes, replace(spec, size_px=_SIDE_PX, grey=False, detail_px=0))
        pictures = np.rint(sharp.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
        return [
            Explanation(pictures[i], emotion, maps[:, i], probabilities[:, i])
            for i, emotion in enumerate(emotions)
        ]


def draw(path: Path, look: Explanation, title: str) -> None:
    """Draw a face, and each branch's heat over it, as PNG.

    A branch's tile says what it voted, and how probable that is to it. Its map is stretched over
    the whole face, as is usual. To draw each place where its inputs are centred, which is in the
    middle 40 of 96 px, fits worse to what covering parts of a face does (correlation 0.31).
    """
    count = len(look.maps)
    columns = math.ceil(math.sqrt(2 * (count + 1)))
    rows = math.ceil((count + 1) / columns)
    figure = Figure(figsize=(1.7 * columns, 1.85 * rows + 0.35), layout="constrained")
    figure.suptitle(title, fontsize=11)
    tiles = figure.subplots(rows, columns, squeeze=False).ravel()
    for tile in tiles:
        tile.set_axis_off()
    tiles[0].imshow(look.face)
    mean = look.probabilities.mean(axis=0)
    tiles[0].set_title(f"all: {LABELS[mean.argmax()]} {mean.max():.0%}", fontsize=9)
    for k, (tile, heat, says) in enumerate(zip(tiles[1:], look.maps, look.probabilities), start=1):
        tile.imshow(heated(look.face, heat))
        vote = int(says.argmax())
        colour = "black" if vote == look.emotion else "firebrick"
        tile.set_title(f"{k}: {LABELS[vote]} {says[vote]:.0%}", fontsize=9, color=colour)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def heated(face: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map (h, w) in [0, 1] over a face (side, side, 3): nothing for 0, blue to red for 1."""
    size = (face.shape[1], face.shape[0])
    smooth = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    colours = colormaps["turbo"](smooth)[..., :3] * 255
    cover = _COVER * np.minimum(2 * smooth, 1)[..., None]
    mixed: NDArray[np.uint8] = np.rint(face * (1 - cover) + colours * cover).astype(np.uint8)
    return mixed


def default_weights() -> Path:
    """Where the weights of the network that ships lie: installed, or beside the package.

    Raises:
        ModelError: they are not there, as after a pip install.
    """
    found = shipped_file(DEFAULT_WEIGHTS)
    if found:
        return found
    raise ModelError(
        f"the weights {DEFAULT_WEIGHTS} are not installed here; give --weights FOLDER, such as "
        f"models/{DEFAULT_WEIGHTS} of a clone"
    )
