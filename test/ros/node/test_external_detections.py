"""Synchronisation of images and detections."""

from __future__ import annotations

from esr_ros.node.external_detections import StampSync


def test_pairs_are_found_in_any_order() -> None:
    pairs: StampSync[str, int] = StampSync()
    assert pairs.add_first((1, 0), "a") is None
    assert pairs.add_second((2, 0), 20) is None
    assert pairs.add_second((1, 0), 10) == ("a", 10)
    assert pairs.add_first((2, 0), "b") == ("b", 20)
    assert pairs.add_second((1, 0), 11) is None
    assert pairs.dropped == 0


def test_items_without_a_counterpart_are_dropped() -> None:
    pairs: StampSync[int, int] = StampSync(depth=3)
    for number in range(5):
        assert pairs.add_first((number, 0), number) is None
    assert pairs.dropped == 2
    assert pairs.add_second((1, 0), 0) is None
    assert pairs.add_second((2, 0), 0) == (2, 0)
    for number in range(10, 20):
        assert pairs.add_second((number, 5), 0) is None
    assert pairs.add_first((16, 5), 0) is None
    assert pairs.add_first((17, 5), 0) == (0, 0)


def test_second_item_with_a_stamp_drops_the_first() -> None:
    pairs: StampSync[str, int] = StampSync()
    pairs.add_first((1, 0), "a")
    pairs.add_first((1, 0), "b")
    assert pairs.dropped == 1
    assert pairs.add_second((1, 0), 10) == ("b", 10)
