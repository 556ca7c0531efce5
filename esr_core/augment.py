"""Random views of training faces: one resampling for all geometry, then light and holes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How far the views go; all ranges are symmetric and uniform unless said otherwise."""

    rotation_deg: float = 15.0
    scale: float = 0.15
    shift: float = 0.08  # in widths of the image
    flip: float = 0.5  # probability
    gain: float = 0.3
    offset: float = 0.15
    blur: float = 0.15  # probability of a 3x3 binomial blur
    erase: float = 0.3  # probability of a grey rectangle


def identity(images: Tensor, size_px: int) -> Tensor:
    """Enlarge grey faces (n, 1, h, w) in [0, 1] to (n, 1, size, size), as ``crop`` does."""
    return F.interpolate(
        images, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=False
    )


def augment(
    images: Tensor, size_px: int, options: Augmentation, generator: torch.Generator
) -> Tensor:
    """Return one random view of every face.

    images: (n, 1, h, w) float in [0, 1]. Returns (n, 1, size, size) in [0, 1].
    """
    n = len(images)

    def uniform(extent: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * extent

    angle = torch.deg2rad(uniform(options.rotation_deg))
    zoom = 1 + uniform(options.scale)
    mirror = torch.where(torch.rand(n, generator=generator) < options.flip, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # affine_grid counts in half widths, so a shift of one width is 2.
    shift_x, shift_y = uniform(2 * options.shift), uniform(2 * options.shift)
    rows = [
        torch.stack([cos * mirror, -sin, shift_x], 1),
        torch.stack([sin * mirror, cos, shift_y], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [n, 1, size_px, size_px], align_corners=False)
    view = F.grid_sample(images, grid, padding_mode="border", align_corners=False)

    blurred = torch.rand(n, generator=generator) < options.blur
    if bool(blurred.any()):
        view[blurred] = _blur(view[blurred])
    gain, offset = 1 + uniform(options.gain), uniform(options.offset)
    view = view * gain[:, None, None, None] + offset[:, None, None, None]
    return _erase(view.clamp_(0, 1), options.erase, generator)


def _blur(view: Tensor) -> Tensor:
    line = torch.tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line[None, :])[None, None]
    return F.conv2d(F.pad(view, (1, 1, 1, 1), mode="replicate"), kernel)


def _erase(view: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Cover a rectangle of 10 to 40 % of the width and height (Zhong et al., 2020)."""
    n, _, height, width = view.shape
    chosen = torch.rand(n, generator=generator) < probability
    extent = 0.1 + 0.3 * torch.rand(n, 2, generator=generator)
    corner = torch.rand(n, 2, generator=generator) * (1 - extent)
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    in_y = (y >= corner[:, :1]) & (y < corner[:, :1] + extent[:, :1])  # (n, height)
    in_x = (x >= corner[:, 1:]) & (x < corner[:, 1:] + extent[:, 1:])  # (n, width)
    hole = chosen[:, None, None] & in_y[:, :, None] & in_x[:, None, :]
    grey = torch.rand(n, 1, 1, generator=generator).expand(n, height, width)
    return torch.where(hole[:, None], grey[:, None], view)
