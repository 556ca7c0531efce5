"""Saliency maps of the branches of a network, and figures of them.

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
from torch import Tensor

from esr_core.atomic_write import replacing
from esr_core.emotions import LABELS
from esr_core.inference.onnx_model import shipped_file
from esr_core.network import checkpoint
from esr_core.network.esr import ESR, Branch, Calibration
from esr_core.perception.arrays import Boxes, Floats, Image
from esr_core.perception.preprocessing import crop

#: Side of an input, px, below which Grad-CAM has too few positions: 2x2 for 64 px.
FINE_BELOW_PX = 96
#: Side of a face in a figure, px, and the maximum opacity of a map over it.
_SIDE_PX, _OPACITY = 224, 0.6


class Explanation(NamedTuple):
    """The saliency maps of one emotion in one face."""

    face: Image  # (side, side, 3) RGB, cropped as for the network
    emotion: int  # an index into LABELS
    maps: Floats  # (branches, h, w) in [0, 1], each scaled to its maximum
    probabilities: Floats  # (branches, 8), rows sum to 1


def grad_cam(esr: ESR, faces: Tensor, emotions: Tensor) -> Tensor:
    """Return the Grad-CAM maps of an emotion, from the last features of each branch.

    faces: (n, 3, size, size). emotions: (n,) indices into LABELS. Returns (branches, n, h, w), 0 or
    more, not scaled; h = w = 6 for faces of 96 px.

    Grad-CAM (eq. 1 and 2) weights each feature map A by the mean gradient of the emotion's logit,
    sums over the maps, and applies a ReLU. A branch ends in the mean over all positions and a
    linear layer w, so that gradient is w / (h · w) everywhere.
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
    """Return the LayerCAM maps of an emotion, from the shared features, for each branch.

    Parameters and result are those of :func:`grad_cam`; h = w = 12 for faces of 64 px, 20 of 96.
    LayerCAM (eq. 4 to 6) weights each position of a feature map by its own positive gradient, so it
    is valid for earlier, finer features. For ESR-9 it correlates better with the change of an
    emotion's logit when parts of a face are covered (0.58, Grad-CAM 0.41; 40 validation faces of
    FER+, squares of 14 px).
    """
    shared = esr.base(faces).detach().requires_grad_()
    maps = []
    for branch in esr.convolutional_branches:
        scores = branch(shared)[0].gather(1, emotions[:, None]).sum()
        (gradient,) = torch.autograd.grad(scores, shared)
        maps.append((gradient.relu() * shared.detach()).sum(dim=1))
    return torch.stack(maps)


class Explainer:
    """Computes the explanations of a network's faces."""

    def __init__(self, folder: Path, fine: bool = False) -> None:
        """Load weights, as :func:`~esr_core.network.checkpoint.load`.

        fine: use :func:`layer_cam`, as for inputs below FINE_BELOW_PX, not :func:`grad_cam`.
        """
        self._esr, self._metadata = checkpoint.load(folder)
        is_small = self._metadata.input.size_px < FINE_BELOW_PX
        self._cam = layer_cam if fine or is_small else grad_cam

    def explain(self, rgb: Image, boxes: Boxes, emotions: Sequence[int]) -> list[Explanation]:
        """Return the explanations of an image (h, w, 3), of one emotion (n,) per box (n, 4)."""
        spec = self._metadata.input
        faces = torch.from_numpy(crop(rgb, boxes, spec))
        with torch.no_grad():
            logits = Calibration(self._metadata)(self._esr(faces).emotions)
        probabilities = logits.softmax(dim=2).numpy()
        maps = self._cam(self._esr, faces, torch.tensor(emotions)).numpy()
        maps = maps / np.maximum(maps.max(axis=(2, 3), keepdims=True), np.finfo(np.float32).tiny)
        sharp = crop(rgb, boxes, replace(spec, size_px=_SIDE_PX, grey=False, detail_px=0))
        crops = np.rint(sharp.transpose(0, 2, 3, 1) * 255).astype(np.uint8)
        parts = zip(crops, emotions, maps.swapaxes(0, 1), probabilities.swapaxes(0, 1))
        return [Explanation(*each) for each in parts]


def draw(path: Path, explanation: Explanation, title: str) -> None:
    """Draw a face and the map of each branch over it, as PNG.

    The title of a branch's tile is its vote with the probability. Maps are stretched over the whole
    face, as is usual. Placing each position at the centre of its receptive field, within the middle
    40 of 96 px, correlates worse with covering parts of a face (0.31).
    """
    face, emotion, maps, probabilities = explanation
    columns = math.ceil(math.sqrt(2 * (len(maps) + 1)))
    rows = math.ceil((len(maps) + 1) / columns)
    figure = Figure(figsize=(1.7 * columns, 1.85 * rows + 0.35), layout="constrained")
    figure.suptitle(title, fontsize=11)
    tiles = figure.subplots(rows, columns, squeeze=False).ravel()
    for tile in tiles:
        tile.set_axis_off()
    pictures = [face, *(heated(face, heat) for heat in maps)]
    votes = [probabilities.mean(axis=0), *probabilities]
    for k, (tile, picture, scores) in enumerate(zip(tiles, pictures, votes)):
        tile.imshow(picture)
        vote = int(scores.argmax())
        colour = "firebrick" if k and vote != emotion else "black"
        tile.set_title(f"{k or 'all'}: {LABELS[vote]} {scores[vote]:.0%}", fontsize=9, color=colour)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=130)


def heated(face: Image, heat: Floats) -> Image:
    """Blend a map (h, w) in [0, 1] over a face (side, side, 3): 0 is transparent, 1 is red."""
    size = (face.shape[1], face.shape[0])
    smooth = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_CUBIC), 0, 1)
    colours = colormaps["turbo"](smooth)[..., :3] * 255
    opacity = _OPACITY * np.minimum(2 * smooth, 1)[..., None]
    mixed: Image = np.rint(face * (1 - opacity) + colours * opacity).astype(np.uint8)
    return mixed


def default_weights() -> Path:
    """Return the folder of the weights of the network that ships, as :func:`shipped_file`."""
    advice = "give --weights FOLDER, such as models/esr-9-ferplus of a clone"
    return shipped_file("esr-9-ferplus", advice)
