"""The time of a camera's images, from stamps as real cameras set them."""

from __future__ import annotations

import time
from typing import Iterable, List, Optional

import numpy as np
import pytest

from esr_core.perception.stream_clock import StreamClock

#: Stamps of 60 images at 30 Hz, on a day in 2023.
STEADY = [1.7e9 + i / 30 for i in range(60)]


def times(clock: StreamClock, stamps: Iterable[Optional[float]]) -> List[float]:
    """Return the time of each image; they arrive at 30 Hz."""
    return [clock.update(stamp_s, 50 + i / 30).time_s for i, stamp_s in enumerate(stamps)]


def restarts(clock: StreamClock, stamps: Iterable[Optional[float]]) -> int:
    return sum(clock.update(s, 50 + i / 30).is_restart for i, s in enumerate(stamps))


def advance(found: List[float]) -> float:
    """Return the usual step of the last 20 times, in images of 30 Hz."""
    return float(np.median(np.diff(found[-20:]))) * 30


def test_steady_stamps_are_the_time() -> None:
    clock = StreamClock()
    assert times(clock, STEADY) == STEADY
    assert not clock.problem


@pytest.mark.parametrize("seconds", [1 / 30, 0.02, 0.9])
def test_a_late_image_has_the_time_of_the_one_before(seconds: float) -> None:
    clock, late = StreamClock(), [*STEADY[:30], STEADY[29] - seconds, *STEADY[30:]]
    assert times(clock, late) == [*STEADY[:30], STEADY[29], *STEADY[30:]]
    assert not clock.problem


def test_a_clock_set_back_a_little_stands_until_it_is_caught_up() -> None:
    clock = StreamClock()
    found = times(clock, STEADY[:30] + [each - 0.1 for each in STEADY[30:]])
    assert found[30:32] == [STEADY[29]] * 2
    assert found[-1] == STEADY[-1] - 0.1
    assert restarts(StreamClock(), STEADY[:30] + [each - 0.1 for each in STEADY[30:]]) == 0


def test_two_cameras_in_turns_are_one_time() -> None:
    clock, turns = StreamClock(), [s - 0.02 * (i % 2) for i, s in enumerate(STEADY)]
    assert restarts(clock, turns) == 0
    assert not clock.problem


def test_a_recording_that_starts_over_is_a_restart_and_has_its_stamps() -> None:
    clock = StreamClock()
    moments = [clock.update(stamp_s) for stamp_s in STEADY + STEADY]
    assert [i for i, each in enumerate(moments) if each.is_restart] == [60]
    assert [each.time_s for each in moments] == STEADY + STEADY
    assert not clock.problem


@pytest.mark.parametrize("first", [0, 2, 20, 40])
def test_a_recording_may_go_back_to_any_place(first: int) -> None:
    later = [s - 60 for s in STEADY[first:]]
    clock = StreamClock()
    moments = [clock.update(stamp_s) for stamp_s in STEADY + later]
    assert [i for i, each in enumerate(moments) if each.is_restart] == [62]
    assert [each.time_s for each in moments] == [*STEADY, STEADY[-1], STEADY[-1], *later[2:]]


def test_a_recording_that_follows_another_may_start_over_at_once() -> None:
    clock = StreamClock()
    moments = [clock.update(s) for s in [*STEADY[:30], *[s + 60 for s in STEADY * 2]]]
    assert [i for i, each in enumerate(moments) if each.is_restart] == [90]


def test_a_recording_that_goes_back_after_a_pause_is_a_restart_at_once() -> None:
    clock = StreamClock()
    times(clock, STEADY)
    moment = clock.update(STEADY[0] - 60, 50 + 60 / 30 + 1.5)
    assert moment == (STEADY[0] - 60, True)


@pytest.mark.parametrize(("every", "seconds"), [(30, 5), (30, -5), (60, -5), (3, 5), (3, -5)])
def test_a_second_publisher_of_another_time_costs_no_restart(every: int, seconds: float) -> None:
    clock, stamps = StreamClock(), []
    for i in range(240):
        stamps.append(1.7e9 + i / 30)
        if i % every == every - 1:
            stamps.append(1.7e9 + i / 30 + seconds)
    assert restarts(clock, stamps) == 0
    assert "back and forth" in clock.problem


@pytest.mark.parametrize("place", [0, 1, 20])
@pytest.mark.parametrize("seconds", [3600, -3600, 3, -3])
def test_one_wrong_stamp_costs_no_restart(place: int, seconds: float) -> None:
    clock, wrong = StreamClock(), [*STEADY]
    wrong[place] += seconds
    assert restarts(clock, wrong) == 0
    assert not clock.problem


def test_time_goes_on_after_one_stamp_of_another_hour() -> None:
    clock, wrong = StreamClock(), [*STEADY]
    wrong[20] += 3600
    moments = [clock.update(stamp_s) for stamp_s in wrong]
    assert not any(each.is_restart for each in moments)
    steps = np.diff([each.time_s for each in moments])
    assert steps.min() >= 0
    np.testing.assert_allclose(np.delete(steps, [19, 20]), 1 / 30, atol=1e-5)


def test_a_jump_forward_is_no_restart() -> None:
    assert restarts(StreamClock(5.0), STEADY[:30] + [each + 3600 for each in STEADY[30:]]) == 0


@pytest.mark.parametrize(
    ("stamps", "problem"),
    [
        ([1.7e9] * 60, "do not advance"),
        ([1.7e9 + i / 30e3 for i in range(60)], "do not advance"),
        ([1.7e9 + i / 30 * 1e3 for i in range(60)], "100 times faster"),
        ([s - 10 * (i % 2) for i, s in enumerate(STEADY)], "back and forth"),
        ([s - 10 * (i % 8 > 3) for i, s in enumerate(STEADY * 2)], "back and forth"),
        ([1.7e9 + i / 30 - 10 * (i % 40 == 9) for i in range(160)], "back and forth"),
        ([None] * 60, "without a stamp"),
        ([None if i == 9 else s for i, s in enumerate(STEADY)], "without a stamp"),
    ],
    ids=[
        "stand",
        "microseconds",
        "milliseconds",
        "in turns",
        "in blocks",
        "now and then",
        "none",
        "one of many",
    ],
)
def test_where_stamps_are_wrong_arrival_counts(stamps: List[Optional[float]], problem: str) -> None:
    clock = StreamClock()
    found = times(clock, stamps)
    assert problem in clock.problem
    assert advance(found) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rate", [0.05, 0.5, 4.0, 20.0])
def test_a_recording_may_be_played_slower_and_faster(rate: float) -> None:
    clock = StreamClock()
    found = [clock.update(s, 50 + i / 30 / rate).time_s for i, s in enumerate(STEADY)]
    assert found == STEADY
    assert not clock.problem


def test_a_player_may_pause() -> None:
    clock = StreamClock()
    for i, stamp_s in enumerate(STEADY):
        clock.update(stamp_s, 50 + i / 30 + 600 * (i > 30))
    assert not clock.problem


def test_images_may_arrive_in_bursts_and_have_whole_seconds() -> None:
    clock = StreamClock()
    for i, stamp_s in enumerate(STEADY):
        clock.update(stamp_s, 50 + i // 10 / 3)
    assert not clock.problem


def test_without_times_of_arrival_stamps_cannot_be_checked() -> None:
    clock = StreamClock()
    assert [clock.update(7.0).time_s for _ in range(60)] == [7.0] * 60


@pytest.mark.parametrize(("pause_s", "expected"), [(4.0, False), (6.0, True)])
def test_a_long_pause_of_the_camera_is_a_restart(pause_s: float, expected: bool) -> None:
    clock = StreamClock(max_pause_s=5.0)
    clock.update(1.7e9, 50.0)
    assert clock.update(1.7e9 + pause_s, 50.0 + pause_s).is_restart is expected


def test_time_of_arrival_goes_on_after_the_stamps() -> None:
    clock = StreamClock()
    found = times(clock, [1.7e9] * 60)
    assert np.diff(found).min() >= 0
    assert np.diff(found).max() < 0.04


@pytest.mark.parametrize("first", [None, 7.0])
def test_without_a_stamp_and_a_time_of_arrival_the_time_of_the_call_counts(
    first: Optional[float],
) -> None:
    clock = StreamClock()
    clock.update(first)
    before_s = clock.update(None).time_s
    time.sleep(0.01)
    assert 0.01 <= clock.update(9.0).time_s - before_s < 1.0


@pytest.mark.parametrize("period_s", [60.0, 120.0, 3600.0])
def test_a_camera_may_take_an_image_every_few_minutes(period_s: float) -> None:
    clock = StreamClock()
    stamps = [1.7e9 + i * period_s for i in range(40)]
    assert [clock.update(s, s - 1.6e9).time_s for s in stamps] == stamps
    assert not clock.problem
