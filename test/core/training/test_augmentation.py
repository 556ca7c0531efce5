"""Random views of training faces."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from esr_core import OptionError
from esr_core.training.augmentation import augment, degrade, draw
from esr_core.training.config import Augmentation

NONE = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def view(images: Tensor, size_px: int, options: Augmentation, generator: torch.Generator) -> Tensor:
    return augment(images, size_px, draw(len(images), options, generator))


def faces(count: int) -> Tensor:
    return torch.rand(count, 1, 48, 48, generator=seeded(9))


@pytest.mark.parametrize("size_px", [56, 96])
def test_views_have_the_given_size_and_stay_in_range(size_px: int) -> None:
    views = view(faces(16), size_px, Augmentation(), seeded())
    assert views.shape == (16, 1, size_px, size_px)
    assert float(views.min()) >= 0
    assert float(views.max()) <= 1


def test_without_any_change_a_view_is_the_resized_face() -> None:
    images = faces(4)
    resized = F.interpolate(images, size=(96, 96), mode="bilinear")
    torch.testing.assert_close(view(images, 96, NONE, seeded()), resized, atol=1e-4, rtol=0)


def test_same_seed_gives_the_same_views_and_another_one_others() -> None:
    images = faces(8)
    first, again, other = (view(images, 56, Augmentation(), seeded(s)) for s in (1, 1, 2))
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert not torch.allclose(first, other)


def test_each_face_of_a_batch_has_its_own_view() -> None:
    images = faces(1).expand(12, 1, 48, 48)
    views = view(images, 56, Augmentation(), seeded())
    assert len(torch.unique(views.flatten(1), dim=0)) == 12


def test_training_images_are_left_alone() -> None:
    images = faces(8)
    before = images.clone()
    view(images, 48, Augmentation(), seeded())
    torch.testing.assert_close(images, before, atol=0, rtol=0)


def test_certain_flip_mirrors_left_and_right() -> None:
    images = faces(3)
    views = view(images, 48, replace(NONE, flip=1.0), seeded())
    torch.testing.assert_close(views, images.flip(3), atol=1e-4, rtol=0)


def test_about_half_of_the_faces_are_mirrored() -> None:
    ramp = torch.linspace(0, 1, 48).expand(400, 1, 48, 48)
    views = view(ramp, 54, replace(NONE, flip=0.5), seeded())
    mirrored = (views[:, 0, 0, 0] > views[:, 0, 0, -1]).float().mean()
    assert 0.4 < float(mirrored) < 0.6


def test_shift_is_in_widths_and_goes_all_ways() -> None:
    """The middle of a ramp over the width moves by the shift."""
    x = torch.linspace(0, 1, 48)
    for axis, ramp in ((3, x[None, :].expand(48, 48)), (2, x[:, None].expand(48, 48))):
        views = view(ramp.expand(300, 1, 48, 48), 54, replace(NONE, shift=0.1), seeded())
        across = views.mean(dim=5 - axis)[:, 0]
        moved = across[:, 26:28].mean(dim=1) - 0.5
        assert float(moved.max()) == pytest.approx(0.1, abs=0.01)
        assert float(moved.min()) == pytest.approx(-0.1, abs=0.01)


def test_scale_goes_both_ways() -> None:
    x = torch.linspace(-1, 1, 48)
    disc = ((x[:, None] ** 2 + x[None, :] ** 2) < 0.25).float().expand(200, 1, 48, 48)
    area = view(disc, 56, replace(NONE, scale=0.15), seeded()).mean(dim=(1, 2, 3))
    ratio = (area / disc[0].mean()).sqrt()
    assert float(ratio.min()) == pytest.approx(1 / 1.15, abs=0.02)
    assert float(ratio.max()) == pytest.approx(1 / 0.85, abs=0.02)


def test_rotation_is_limited_by_the_given_angle() -> None:
    """The direction of the slope of a turned ramp is the angle."""
    ramp = torch.linspace(0, 1, 48)[None, :].expand(200, 1, 48, 48)
    views = view(ramp, 56, replace(NONE, rotation_deg=20.0), seeded())[:, 0, 18:38, 18:38]
    down = (views[:, 1:] - views[:, :-1]).mean(dim=(1, 2))
    right = (views[:, :, 1:] - views[:, :, :-1]).mean(dim=(1, 2))
    degrees = torch.rad2deg(torch.atan2(down, right))
    assert float(degrees.max()) == pytest.approx(20, abs=1)
    assert float(degrees.min()) == pytest.approx(-20, abs=1)


def test_gain_and_offset_change_the_light() -> None:
    grey = torch.full((300, 1, 48, 48), 0.5)
    gained = view(grey, 54, replace(NONE, gain=0.4), seeded()).mean(dim=(1, 2, 3))
    assert (float(gained.min()), float(gained.max())) == pytest.approx((0.3, 0.7), abs=0.01)
    lifted = view(grey, 54, replace(NONE, offset=0.2), seeded()).mean(dim=(1, 2, 3))
    assert (float(lifted.min()), float(lifted.max())) == pytest.approx((0.3, 0.7), abs=0.01)


@pytest.mark.parametrize("shape", [(200, 48, 48), (200, 48, 48, 3)])
def test_blur_softens_some_and_keeps_the_mean(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    blurry = degrade(images, draw(200, replace(NONE, blur=0.5, blur_width=0.05), seeded()))
    assert blurry.shape == shape
    contrast = blurry.std(axis=(1, 2)).reshape(200, -1)[:, 0] / images[0].std()
    assert 75 <= (contrast < 0.95).sum() <= 110  # half, but for those of almost no blur
    assert contrast.min() < 0.3
    assert blurry.mean() == pytest.approx(images.mean(), abs=1)


def test_compression_changes_some_and_leaves_blocks() -> None:
    ramp = np.linspace(0, 255, 48).astype(np.uint8)
    images = np.broadcast_to(ramp, (200, 48, 48)).copy()
    packed = degrade(images, draw(200, replace(NONE, compress=0.25), seeded()))
    changed = (packed != images).any(axis=(1, 2))
    assert 30 <= changed.sum() <= 70
    assert np.abs(packed.astype(int) - images).max() < 60


def test_nothing_drawn_nothing_degraded() -> None:
    images = np.random.default_rng(3).integers(0, 256, (9, 48, 48), np.uint8)
    np.testing.assert_array_equal(degrade(images, draw(9, NONE, seeded())), images)


def test_erased_part_is_one_grey_rectangle_of_the_sizes_promised() -> None:
    images = torch.zeros(60, 1, 48, 48)
    views = view(images, 100, replace(NONE, erase=1.0), seeded())
    for one in views[:, 0]:
        hole = one > 0
        rows, columns = hole.any(dim=1), hole.any(dim=0)
        height, width = int(rows.sum()), int(columns.sum())
        assert int(hole.sum()) == height * width
        assert 9 <= height <= 41
        assert 9 <= width <= 41
        assert len(torch.unique(one[hole])) == 1


def test_share_of_faces_is_erased() -> None:
    views = view(torch.zeros(400, 1, 48, 48), 54, replace(NONE, erase=0.3), seeded())
    assert float((views.amax(dim=(1, 2, 3)) > 0).float().mean()) == pytest.approx(0.3, abs=0.07)


def test_colours_go_through_the_same_view() -> None:
    grey = faces(6)
    views = draw(6, Augmentation(), seeded())
    colour = augment(grey.expand(6, 3, 48, 48), 56, views)
    torch.testing.assert_close(colour, augment(grey, 56, views).expand(6, 3, 56, 56))


def test_some_of_the_views_are_those_of_the_whole_batch() -> None:
    """Processes that share a batch draw for all of it and use their part."""
    images, views, mine = faces(6), draw(6, Augmentation(), seeded()), torch.tensor([1, 4])
    part = augment(images[mine], 56, views.select(mine))
    torch.testing.assert_close(part, augment(images, 56, views)[mine])


@pytest.mark.parametrize(("name", "value"), [("flip", 1.5), ("shift", -0.1), ("blur", "often")])
def test_options_out_of_range(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{name} must be"):
        Augmentation(**{name: value})
