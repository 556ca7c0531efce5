"""How a face becomes a network input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from esr_core import ImageError, OptionError
from esr_core.perception.preprocessing import InputSpec, crop, squares, whole

FACE = (178.0, 63.0, 267.0, 175.0)
#: All detail, no margin: the crop is the box.
PLAIN = InputSpec(margin=1.0, detail_px=0)


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_batch_has_a_place_for_every_box(rgb: NDArray[np.uint8]) -> None:
    batch = crop(rgb, boxes(FACE, (0, 0, 50, 50)), InputSpec())
    assert batch.shape == (2, 3, 96, 96)
    assert batch.dtype == np.float32
    assert batch.min() >= 0
    assert 0.5 < batch.max() <= 1


def test_no_boxes_give_an_empty_batch(rgb: NDArray[np.uint8]) -> None:
    assert crop(rgb, boxes(), InputSpec()).shape == (0, 3, 96, 96)


def test_white_is_one_and_black_is_zero() -> None:
    for value, expected in ((0, 0.0), (255, 1.0)):
        image = np.full((80, 80, 3), value, np.uint8)
        np.testing.assert_allclose(crop(image, boxes((10, 10, 60, 60)), InputSpec()), expected)


def test_grey_network_sees_three_equal_channels(rgb: NDArray[np.uint8]) -> None:
    red, green, blue = crop(rgb, boxes(FACE), InputSpec(grey=True))[0]
    np.testing.assert_array_equal(red, green)
    np.testing.assert_array_equal(red, blue)
    assert red.std() > 0.05


def test_grey_weighs_colours_as_the_eye_does() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    for channel, weight in ((0, 0.299), (1, 0.587), (2, 0.114)):
        image[:] = 0
        image[..., channel] = 255
        mean = crop(image, boxes((5, 5, 55, 55)), InputSpec()).mean()
        assert mean == pytest.approx(weight, abs=1 / 255)


def test_colour_network_sees_red_first() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    image[..., 0] = 255
    batch = crop(image, boxes((5, 5, 55, 55)), InputSpec(grey=False))
    assert batch.mean(axis=(0, 2, 3)).tolist() == [1.0, 0.0, 0.0]


def test_colour_network_gets_grey_pictures_too() -> None:
    batch = whole(np.full((2, 48, 48), 51, np.uint8), InputSpec(grey=False))
    assert batch.shape == (2, 3, 96, 96)
    np.testing.assert_allclose(batch, 0.2, atol=1e-6)


def test_margin_and_shift_are_in_widths_of_the_box() -> None:
    spec = InputSpec(margin=1.5, shift_y=0.1)
    assert squares(boxes((10, 20, 50, 80)), spec)[0].tolist() == pytest.approx([30, 54, 60])


def test_larger_margin_shows_more() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[80:120, 80:120] = 255
    box = boxes((80, 80, 120, 120))
    shares = [
        crop(image, box, InputSpec(margin=margin, detail_px=0)).mean() for margin in (1.0, 2.0, 4.0)
    ]
    assert shares == pytest.approx([1, 1 / 4, 1 / 16], abs=0.02)


def test_box_of_the_networks_size_is_cut_pixel_by_pixel(rgb: NDArray[np.uint8]) -> None:
    spec = InputSpec(grey=False, margin=1.0, detail_px=0)
    cut = crop(rgb, boxes((100, 150, 196, 246)), spec)[0]
    expected = rgb[150:246, 100:196].transpose(2, 0, 1) / np.float32(255)
    np.testing.assert_allclose(cut, expected, atol=1e-6)


def test_detail_beyond_the_training_images_is_lost() -> None:
    checks = (np.indices((96, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert whole(checks[None], InputSpec(detail_px=0)).std() > 0.4
    assert whole(checks[None], InputSpec(detail_px=48)).std() < 0.01


def test_enlarging_rounds_in_the_same_way_on_every_processor() -> None:
    """Of four pixels, 9, 3, 3 and 1 sixteenths, rounded half up; exact in integers."""
    face = np.random.default_rng(3).integers(0, 256, (48, 48), np.uint8)
    near = np.pad(face.astype(int), 1, mode="edge")
    rows = np.stack([near[:-2] + 3 * near[1:-1], near[2:] + 3 * near[1:-1]], 1).reshape(96, 50)
    sums = np.stack([rows[:, :-2] + 3 * rows[:, 1:-1], rows[:, 2:] + 3 * rows[:, 1:-1]], 2)
    expected = (sums.reshape(96, 96) + 8) // 16
    np.testing.assert_array_equal(np.rint(whole([face], InputSpec())[0, 0] * 255), expected)


def test_outside_repeats_the_border() -> None:
    ramp = np.repeat(np.arange(100, dtype=np.uint8)[None, :, None] * 2, 100, axis=0)
    image = np.repeat(ramp, 3, axis=2)
    left = crop(image, boxes((-48, 0, 48, 96)), PLAIN)[0, 0]
    np.testing.assert_allclose(left[:, :48], image[0, 0, 0] / 255, atol=1e-6)
    np.testing.assert_allclose(left[0, 48:] * 255, image[0, :48, 0], atol=1e-3)
    right = crop(image, boxes((52, 0, 148, 96)), PLAIN)[0, 0]
    np.testing.assert_allclose(right[:, 48:], image[0, 99, 0] / 255, atol=1e-6)


@pytest.mark.parametrize(
    "box",
    [
        (-900.0, -900.0, -800.0, -800.0),
        (5000.0, 5000.0, 5100.0, 5100.0),
        (-1e7, 10.0, -1e7 + 50, 60.0),
    ],
)
def test_box_wholly_outside_shows_the_nearest_border(box: tuple[float, ...]) -> None:
    image = np.full((60, 80, 3), 102, np.uint8)
    image[1:-1, 1:-1] = 0
    np.testing.assert_allclose(crop(image, np.array([box], np.float32), PLAIN), 0.4, atol=1e-6)


def test_box_far_larger_than_the_image_is_kept_near_it(rgb: NDArray[np.uint8]) -> None:
    batch = crop(rgb, boxes((-1e6, -1e6, 1e6, 1e6)), InputSpec())
    assert batch.shape == (1, 3, 96, 96)
    assert np.isfinite(batch).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_box_that_is_no_place_is_refused(rgb: NDArray[np.uint8], value: float) -> None:
    with pytest.raises(ImageError, match="boxes must be numbers"):
        crop(rgb, boxes(FACE, (10, value, 50, 50)), InputSpec())


@pytest.mark.parametrize("side", [0.0, 0.2, 1.0, 3.0])
def test_tiny_box_shows_what_is_there(side: float) -> None:
    image = np.full((40, 40, 3), 153, np.uint8)
    np.testing.assert_allclose(
        crop(image, boxes((20, 20, 20 + side, 20 + side)), InputSpec()), 0.6, atol=1e-6
    )


def test_image_of_one_pixel() -> None:
    image = np.full((1, 1, 3), 255, np.uint8)
    np.testing.assert_allclose(crop(image, boxes((0, 0, 1, 1)), InputSpec()), 1.0)


def test_image_itself_is_left_alone(rgb: NDArray[np.uint8]) -> None:
    before = rgb.copy()
    crop(rgb, boxes(FACE, (-20, -20, 30, 30)), InputSpec())
    np.testing.assert_array_equal(rgb, before)


def test_view_into_a_larger_image_is_cut_like_a_copy(rgb: NDArray[np.uint8]) -> None:
    view = rgb[::2, ::-1]
    box = boxes((100, 20, 200, 120))
    np.testing.assert_array_equal(
        crop(view, box, InputSpec()), crop(np.ascontiguousarray(view), box, InputSpec())
    )


def test_framed_images_and_cut_ones_become_the_same(rgb: NDArray[np.uint8]) -> None:
    spec = InputSpec(margin=1.0)
    cut = crop(rgb, boxes((200, 80, 300, 180)), spec)
    np.testing.assert_array_equal(cut, whole(rgb[None, 80:180, 200:300], spec))


@pytest.mark.parametrize("size_px", [56, 72, 96])
def test_training_sees_what_use_sees(size_px: int) -> None:
    faces = np.random.default_rng(3).integers(0, 256, (4, 48, 48)).astype(np.uint8)
    images = torch.from_numpy(faces)[:, None].float() / 255
    trained = F.interpolate(images, size=(size_px, size_px), mode="bilinear").numpy()
    used = whole(faces, InputSpec(size_px=size_px))
    np.testing.assert_allclose(used[:, :1], trained, atol=1 / 255)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"size_px": 53}, "size_px must be from 54 to 1024, but got 53"),
        ({"margin": 0.4}, "margin must be from 0.5 to 4, but got 0.4"),
        ({"margin": float("nan")}, "margin must be"),
        ({"detail_px": -1}, "detail_px must be from 0"),
        ({"size_px": 96.5}, "size_px must be an int, but got 96.5"),
        ({"grey": "no"}, "grey must be a bool"),
        ({"shift_y": float("inf")}, "shift_y must be from"),
    ],
)
def test_spec_out_of_range(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        InputSpec(**wrong)
