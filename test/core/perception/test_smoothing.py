"""Smoothing over time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core.perception.smoothing import EmaFilter

ZERO, ONE = np.zeros(3, np.float32), np.ones(3, np.float32)


def step_response(rate_hz: int, seconds: float, time_constant_s: float) -> NDArray[np.float32]:
    """Return the response to a step from 0 to 1 at time 0 after some seconds at a frame rate."""
    ema_filter = EmaFilter()
    out = ema_filter.update(1, ZERO, 0.0, time_constant_s)
    for i in range(1, round(rate_hz * seconds) + 1):
        out = ema_filter.update(1, ONE, i / rate_hz, time_constant_s)
    return out


def test_first_values_pass_unchanged() -> None:
    np.testing.assert_array_equal(EmaFilter().update(1, ONE, 7.0, 0.5), ONE)


@pytest.mark.parametrize("rate_hz", [1, 10, 30, 200])
def test_frame_rate_does_not_matter(rate_hz: int) -> None:
    expected = 1 - math.exp(-1 / 0.5)
    np.testing.assert_allclose(step_response(rate_hz, 1.0, 0.5), expected, rtol=1e-4)


def test_after_one_time_constant_63_percent_of_a_step_is_done() -> None:
    assert step_response(1, 1.0, 1.0)[0] == pytest.approx(0.632, abs=1e-3)


def test_time_constant_of_zero_does_not_smooth() -> None:
    ema_filter = EmaFilter()
    ema_filter.update(1, ZERO, 0.0, 0.0)
    np.testing.assert_array_equal(ema_filter.update(1, ONE, 0.001, 0.0), ONE)


def test_faces_do_not_mix() -> None:
    ema_filter = EmaFilter()
    ema_filter.update(1, ZERO, 0.0, 1.0)
    np.testing.assert_array_equal(ema_filter.update(2, ONE, 0.1, 1.0), ONE)
    assert ema_filter.update(1, ONE, 0.1, 1.0)[0] < 0.2


def test_removed_face_starts_again() -> None:
    ema_filter = EmaFilter()
    ema_filter.update(1, ZERO, 0.0, 1.0)
    ema_filter.update(2, ZERO, 0.0, 1.0)
    ema_filter.keep([2])
    np.testing.assert_array_equal(ema_filter.update(1, ONE, 0.1, 1.0), ONE)
    assert ema_filter.update(2, ONE, 0.1, 1.0)[0] < 0.2


def test_probabilities_still_sum_to_one() -> None:
    ema_filter, random = EmaFilter(), np.random.default_rng(1)
    for i in range(50):
        out = ema_filter.update(1, random.dirichlet(np.ones(8)).astype(np.float32), i / 30, 0.3)
    assert out.sum() == pytest.approx(1, abs=1e-5)
    assert out.min() >= 0


def test_no_time_between_two_detections_changes_nothing() -> None:
    ema_filter = EmaFilter()
    ema_filter.update(1, ZERO, 5.0, 1.0)
    np.testing.assert_array_equal(ema_filter.update(1, ONE, 5.0, 1.0), ZERO)


def test_callers_values_are_left_alone() -> None:
    ema_filter, values = EmaFilter(), ONE.copy()
    ema_filter.update(1, ZERO.copy(), 0.0, 1.0)
    ema_filter.update(1, values, 0.5, 1.0)
    np.testing.assert_array_equal(values, ONE)


def test_label_stays_until_another_leads_by_the_hysteresis() -> None:
    ema_filter = EmaFilter()
    labels = [
        ema_filter.label(1, np.array([first, 1 - first], np.float32), 0.1)
        for first in (0.6, 0.48, 0.52, 0.46, 0.44, 0.5, 0.54, 0.56)
    ]
    assert labels == [0, 0, 0, 0, 1, 1, 1, 0]


def test_without_hysteresis_the_label_is_the_most_probable_one() -> None:
    ema_filter, random = EmaFilter(), np.random.default_rng(2)
    for _ in range(50):
        probabilities = random.dirichlet(np.ones(8)).astype(np.float32)
        assert ema_filter.label(1, probabilities, 0.0) == probabilities.argmax()


def test_labels_of_faces_do_not_mix_and_are_removed() -> None:
    ema_filter = EmaFilter()
    first, second = np.array([0.52, 0.48], np.float32), np.array([0.48, 0.52], np.float32)
    assert [ema_filter.label(1, first, 0.1), ema_filter.label(2, second, 0.1)] == [0, 1]
    assert ema_filter.label(1, second, 0.1) == 0
    ema_filter.keep([2])
    assert [ema_filter.label(1, second, 0.1), ema_filter.label(2, first, 0.1)] == [1, 1]


def test_state_is_independent_of_the_callers_arrays() -> None:
    ema_filter, values = EmaFilter(), ZERO.copy()
    first = ema_filter.update(1, values, 0.0, 1.0)
    values[:] = 7
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 7
    second = ema_filter.update(1, ONE, 1.0, 1.0)
    np.testing.assert_allclose(second, 0.632, atol=1e-3)
    with pytest.raises(ValueError, match="read-only"):
        second += 7
