"""When it is worth a warning."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from esr_ros.node.diagnostics import FrameCounters, status
from esr_ros.parameters import NodeOptions

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def told(counters: FrameCounters, state: str = "hearing", **options: float) -> DiagnosticStatus:
    return status(
        "node: emotions", "/image_raw", counters, state, NodeOptions(**options), {"a": "b"}
    )


@pytest.mark.parametrize(
    ("state", "level", "message"),
    [
        ("hearing", OK, "answering"),
        ("silent", WARN, "no images any more"),
        ("disabled", OK, "disabled: images are ignored"),
    ],
)
def test_state(state: str, level: bytes, message: str) -> None:
    said = told(FrameCounters(received=10, answered=10), state)
    assert (said.level, said.message) == (level, message)


@pytest.mark.parametrize(("latency_s", "level"), [(0.1, OK), (0.3, WARN), (2.0, ERROR)])
def test_slow_answers(latency_s: float, level: bytes) -> None:
    counters = FrameCounters(received=1, answered=1)
    counters.add_latency(latency_s)
    said = told(counters)
    assert said.level == level
    assert said.message == (
        "answering" if level == OK else f"answers take {latency_s * 1e3:.0f} ms"
    )


def test_dropped_images_count_since_the_last_report() -> None:
    counters = FrameCounters()
    counters.add(received=10, answered=2, stale=8)
    said = told(counters)
    assert (said.level, said.message) == (WARN, "80% of the images are not answered")
    counters.add(received=10, answered=10)
    assert told(counters).level == OK
    counters.add(received=1, answered=1, missed=9)
    assert told(counters, dropped_error=0.85).level == ERROR


@pytest.mark.parametrize("why", ["unpaired", "undecodable", "stale"])
def test_whatever_keeps_images_from_being_answered_counts(why: str) -> None:
    counters = FrameCounters()
    counters.add(received=10, answered=1, **{why: 9})
    assert told(counters).message == "90% of the images are not answered"


def test_undecodable_images_in_a_row_are_an_error() -> None:
    counters = FrameCounters(received=9, undecodable=3, undecodable_in_a_row=3)
    assert told(counters).level == ERROR
    counters.undecodable_in_a_row = 2
    assert told(counters).level == OK


def test_figures_are_told() -> None:
    counters = FrameCounters(received=4, answered=3, stale=1, faces=6)
    pairs = {pair.key: pair.value for pair in told(counters).values}
    assert (pairs["received"], pairs["faces"], pairs["a"]) == ("4", "6", "b")
    assert float(pairs["input hz"]) > float(pairs["output hz"]) > 0
    assert pairs["dropped"] == "25%"
