"""Ids of faces across images."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from esr_core.perception.tracking import Tracker, step_sizes

TIMEOUT_S = 0.5


def at(*centres: float, size: float = 100.0, y: float = 200.0) -> NDArray[np.float32]:
    """Square boxes in a row."""
    half = size / 2
    rows = [[x - half, y - half, x + half, y + half] for x in centres]
    return np.array(rows, np.float32).reshape(-1, 4)


def update(tracker: Tracker, boxes: NDArray[np.float32], stamp_s: float) -> list[int]:
    return [int(i) for i in tracker.update(boxes, stamp_s, TIMEOUT_S)]


def test_still_face_keeps_its_id() -> None:
    tracker = Tracker()
    assert [update(tracker, at(100), i / 30) for i in range(5)] == [[1]] * 5


def test_moving_and_growing_face_keeps_its_id() -> None:
    tracker = Tracker()
    ids = [update(tracker, at(100 + 30 * i, size=100 + 10 * i), i / 10) for i in range(20)]
    assert ids == [[1]] * 20


def test_ids_are_numbers_from_one_on() -> None:
    assert update(Tracker(), at(100, 400, 700), 0.0) == [1, 2, 3]


def test_ids_follow_faces_and_not_their_order_in_the_list() -> None:
    tracker = Tracker()
    left, right = update(tracker, at(100, 500), 0.0)
    assert update(tracker, at(510, 110), 0.1) == [right, left]


def test_faces_that_pass_each_other_at_different_heights_keep_their_ids() -> None:
    tracker = Tracker()
    for i in range(21):
        upper, lower = at(100 + 20 * i, y=100), at(500 - 20 * i, y=260)
        assert update(tracker, np.concatenate([upper, lower]), i / 20) == [1, 2]


def test_near_face_is_matched_before_a_farther_one() -> None:
    tracker = Tracker()
    update(tracker, at(100), 0.0)
    assert update(tracker, at(160, 105), 0.1) == [2, 1]


def test_a_few_missed_images_do_not_cost_the_id() -> None:
    tracker = Tracker()
    update(tracker, at(100), 0.0)
    for stamp_s in (0.1, 0.2, 0.3, 0.4):
        assert update(tracker, at(), stamp_s) == []
    assert update(tracker, at(100), 0.5) == [1]


def test_face_is_lost_after_the_timeout_and_its_id_never_comes_back() -> None:
    tracker = Tracker()
    update(tracker, at(100), 0.0)
    update(tracker, at(), 0.51)
    assert tracker.tracks == []
    assert update(tracker, at(100), 0.6) == [2]


@pytest.mark.parametrize("pause_s", [0.6, 5.0, 3600.0])
def test_a_pause_between_two_images_is_no_miss_of_a_face_in_both(pause_s: float) -> None:
    tracker = Tracker()
    for i in range(4):
        assert update(tracker, at(100), i * pause_s) == [1]
    update(tracker, at(), 4 * pause_s)
    assert update(tracker, at(100), 5 * pause_s) == [2]


def test_timeout_counts_from_the_last_detection() -> None:
    tracker = Tracker()
    for stamp_s in (0.0, 0.4, 0.8, 1.2):
        assert update(tracker, at(100), stamp_s) == [1]


def test_timeout_of_zero_keeps_a_face_that_is_in_every_image() -> None:
    tracker = Tracker()
    for time_s in (0.0, 0.1, 0.2):
        assert tracker.update(at(100), time_s, 0.0).tolist() == [1]
    tracker.update(at(), 0.3, 0.0)
    assert tracker.update(at(100), 0.4, 0.0).tolist() == [2]


def test_face_somewhere_else_is_another_face() -> None:
    tracker = Tracker()
    update(tracker, at(100), 0.0)
    assert update(tracker, at(300), 0.1) == [2]


def test_face_of_another_size_is_another_face() -> None:
    tracker = Tracker()
    update(tracker, at(100, size=60), 0.0)
    assert update(tracker, at(100, size=240), 0.1) == [2]


def test_after_a_reset_all_faces_are_others() -> None:
    tracker = Tracker()
    assert update(tracker, at(100, 400), 50.0) == [1, 2]
    tracker.reset()
    assert update(tracker, at(100, 400), 0.0) == [3, 4]
    assert update(tracker, at(100, 400), 0.1) == [3, 4]


def test_same_time_twice_keeps_the_id() -> None:
    tracker = Tracker()
    update(tracker, at(100), 5.0)
    assert update(tracker, at(100), 5.0) == [1]


def test_ids_are_never_given_twice() -> None:
    tracker, ids = Tracker(), []
    for i in range(10):
        ids += update(tracker, at(100, 400), i * 2.0)
        update(tracker, at(), i * 2.0 + 1.0)
    assert sorted(ids) == list(range(1, 21))


def test_tracker_keeps_no_hold_on_the_callers_boxes() -> None:
    tracker, boxes = Tracker(), at(100)
    update(tracker, boxes, 0.0)
    boxes += 5000
    assert update(tracker, at(100), 0.1) == [1]


def test_step_is_distance_in_sizes_plus_logarithm_of_growth() -> None:
    steps = step_sizes(at(100), np.concatenate([at(100), at(150), at(100, size=200)]))
    assert steps[0].tolist() == pytest.approx([0, 0.5, np.log(2)], abs=1e-5)


def test_boxes_without_area_have_finite_steps() -> None:
    assert np.isfinite(step_sizes(at(100, size=0), at(100))).all()


@pytest.mark.parametrize("pause_s", [0.2, 5.0, 3600.0])
def test_a_pause_gives_no_time_to_a_face_that_was_missing_before_it(pause_s: float) -> None:
    tracker = Tracker()
    update(tracker, at(100), 0.0)
    update(tracker, at(), 0.4)
    assert update(tracker, at(100), 0.4 + pause_s) == [2]
