"""Levels and messages of the diagnostics."""

from __future__ import annotations

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from esr_ros.node.diagnostics import FrameCounters, status
from esr_ros.parameters import NodeOptions

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR


def report(
    counters: FrameCounters, state: str = "receiving", stamps: str = "", **options: float
) -> DiagnosticStatus:
    return status(
        "node: emotions", "/image_raw", counters, state, stamps, NodeOptions(**options), {"a": "b"}
    )


@pytest.mark.parametrize(
    ("state", "level", "message"),
    [
        ("receiving", OK, "processing images"),
        ("silent", WARN, "no images for 5 s"),
        ("disabled", OK, "disabled: images are ignored"),
    ],
)
def test_state(state: str, level: bytes, message: str) -> None:
    summary = report(FrameCounters(received=10, answered=10), state)
    assert (summary.level, summary.message) == (level, message)


@pytest.mark.parametrize(("latency_s", "level"), [(0.1, OK), (0.3, WARN), (2.0, ERROR)])
def test_slow_answers(latency_s: float, level: bytes) -> None:
    counters = FrameCounters(received=1, answered=1)
    counters.add_latency(latency_s, {})
    summary = report(counters)
    assert summary.level == level
    assert summary.message == (
        "processing images" if level == OK else f"median latency is {latency_s * 1e3:.0f} ms"
    )


def test_dropped_images_count_since_the_last_report() -> None:
    counters = FrameCounters()
    counters.add(received=10, answered=2, stale=8)
    summary = report(counters)
    assert (summary.level, summary.message) == (WARN, "80% of the images were dropped")
    counters.add(received=10, answered=10)
    assert report(counters).level == OK
    counters.add(received=1, answered=1, missed=9)
    assert report(counters, dropped_error=0.85).level == ERROR


@pytest.mark.parametrize("why", ["unpaired", "undecodable", "stale"])
def test_every_reason_for_a_dropped_image_counts(why: str) -> None:
    counters = FrameCounters()
    counters.add(received=10, answered=1, **{why: 9})
    assert report(counters).message == "90% of the images were dropped"


def test_undecodable_images_in_a_row_are_an_error() -> None:
    counters = FrameCounters(received=9, undecodable=3, undecodable_in_a_row=3)
    assert report(counters).level == ERROR
    counters.undecodable_in_a_row = 2
    assert report(counters).level == OK


def test_figures_are_report() -> None:
    counters = FrameCounters(received=4, answered=3, stale=1, faces=6)
    pairs = {pair.key: pair.value for pair in report(counters).values}
    assert (pairs["received"], pairs["faces"], pairs["a"]) == ("4", "6", "b")
    assert float(pairs["input hz"]) > float(pairs["output hz"]) > 0
    assert pairs["dropped"] == "25%"
