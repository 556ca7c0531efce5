"""Random views of training faces: blur and JPEG, one resampling for all geometry, then light
and erased rectangles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from esr_core.data.corruptions import blur, compress
from esr_core.training.config import Augmentation


class Views(NamedTuple):
    """The random parameters of n views, equal in all processes."""

    transform: Tensor  # (n, 2, 3) from view to image coordinates, in half widths
    blur: Tensor  # (n,) standard deviation in widths of the image; 0: none
    quality: Tensor  # (n,) of JPEG, in percent; 0: not compressed
    gain: Tensor  # (n,)
    offset: Tensor  # (n,)
    erased: Tensor  # (n,) bool
    hole: Tensor  # (n, 4) top, left, height, width, as shares of the view
    grey: Tensor  # (n,) value of the hole

    def select(self, rows: Tensor) -> Views:
        """Return the parameters of some of the faces."""
        return Views(*(part[rows] for part in self))

    def to(self, device: torch.device) -> Views:
        """Return the parameters on a device."""
        return Views(*(part.to(device) for part in self))


def draw(n: int, options: Augmentation, generator: torch.Generator) -> Views:
    """Draw one random view for each of n faces."""

    def uniform(extent: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * extent

    def chance(probability: float) -> Tensor:
        return torch.rand(n, generator=generator) < probability

    angle = torch.deg2rad(uniform(options.rotation_deg))
    zoom = 1 + uniform(options.scale)
    mirror = torch.where(chance(options.flip), -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # affine_grid counts in half widths, so a shift of one width is 2.
    shift_x, shift_y = uniform(2 * options.shift), uniform(2 * options.shift)
    rows = [
        torch.stack([cos * mirror, -sin, shift_x], 1),
        torch.stack([sin * mirror, cos, shift_y], 1),
    ]
    # A rectangle of 10 to 40 % of the width and height (Zhong et al., 2020).
    extent = 0.1 + 0.3 * torch.rand(n, 2, generator=generator)
    corner = torch.rand(n, 2, generator=generator) * (1 - extent)
    return Views(
        torch.stack(rows, 1),
        chance(options.blur) * torch.rand(n, generator=generator) * options.blur_width,
        chance(options.compress) * torch.randint(10, 51, (n,), generator=generator),
        1 + uniform(options.gain),
        uniform(options.offset),
        chance(options.erase),
        torch.cat([corner, extent], dim=1),
        torch.rand(n, generator=generator),
    )


def degrade(images: NDArray[np.uint8], views: Views) -> NDArray[np.uint8]:
    """Return blurred and compressed faces, (n, h, w) or (n, h, w, 3)."""
    degraded = images.copy()
    width = images.shape[2]
    for row in torch.nonzero(views.blur * width > 0.2)[:, 0].tolist():
        degraded[row] = blur(degraded[row], float(views.blur[row]))
    for row in torch.nonzero(views.quality)[:, 0].tolist():
        degraded[row] = compress(degraded[row], int(views.quality[row]))
    return degraded


def augment(images: Tensor, size_px: int, views: Views) -> Tensor:
    """Return the view of every face.

    images: (n, c, h, w) float in [0, 1]. Returns (n, c, size, size) in [0, 1].
    """
    n, channels = images.shape[:2]
    grid = F.affine_grid(views.transform, [n, channels, size_px, size_px], align_corners=False)
    view = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    view = view * views.gain[:, None, None, None] + views.offset[:, None, None, None]
    top, left, tall, wide = views.hole.T[:, :, None]  # (n, 1) each
    centres = (torch.arange(size_px, device=view.device) + 0.5) / size_px
    in_y = (centres >= top) & (centres < top + tall)  # (n, size)
    in_x = (centres >= left) & (centres < left + wide)  # (n, size)
    hole = views.erased[:, None, None] & in_y[:, :, None] & in_x[:, None, :]
    return torch.where(hole[:, None], views.grey[:, None, None, None], view.clamp_(0, 1))
