"""The mailbox: of each sender the newest win."""

from __future__ import annotations

import threading

from esr_ros.node.mailbox import Mailbox


def test_newest_wins_and_the_displaced_is_reported() -> None:
    box: Mailbox[str, int] = Mailbox()
    assert [box.put("left", 1), box.put("left", 2), box.put("left", 3)] == [False, True, True]
    assert box.take() == {"left": 3}
    assert box.put("left", 4) is False


def test_senders_do_not_displace_each_other() -> None:
    box: Mailbox[str, int] = Mailbox()
    assert [box.put("left", 1), box.put("right", 2), box.put("right", 3)] == [False, False, True]
    assert box.take() == {"left": 1, "right": 3}


def test_of_several_places_the_newest_are_kept_and_the_oldest_is_taken_first() -> None:
    box: Mailbox[str, int] = Mailbox()
    assert [box.put("left", number, 3) for number in range(5)] == [False, False, False, True, True]
    box.put("right", 7)
    assert [box.take() for _ in range(3)] == [{"left": 2, "right": 7}, {"left": 3}, {"left": 4}]


def test_what_a_sender_left_can_be_dropped() -> None:
    box: Mailbox[str, int] = Mailbox()
    for number in range(3):
        box.put("left", number, 3)
    box.put("right", 7)
    assert (box.drop("left"), box.drop("left")) == (3, 0)
    assert box.take() == {"right": 7}


def test_close_wakes_the_one_who_waits_and_drops_what_lies_here() -> None:
    box: Mailbox[str, int] = Mailbox()
    got = []
    waiting = threading.Thread(target=lambda: got.append(box.take()))
    waiting.start()
    box.close()
    waiting.join(timeout=10)
    assert got == [{}]
    box.put("left", 1)
    assert box.take() == {}
