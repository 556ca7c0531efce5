"""The mailbox keeps the newest items of each sender."""

from __future__ import annotations

import threading

from esr_ros.node.frame_worker import Mailbox


def test_newest_wins_and_the_displaced_is_reported() -> None:
    box: Mailbox[str, int] = Mailbox()
    assert [box.put("left", 1), box.put("left", 2), box.put("left", 3)] == [False, True, True]
    assert box.take() == {"left": 3}
    assert box.put("left", 4) is False


def test_senders_do_not_displace_each_other() -> None:
    box: Mailbox[str, int] = Mailbox()
    assert [box.put("left", 1), box.put("right", 2), box.put("right", 3)] == [False, False, True]
    assert box.take() == {"left": 1, "right": 3}


def test_deeper_queue_keeps_the_newest_and_gives_the_oldest_first() -> None:
    box: Mailbox[str, int] = Mailbox()
    assert [box.put("left", number, 3) for number in range(5)] == [False, False, False, True, True]
    box.put("right", 7)
    assert [box.take() for _ in range(3)] == [{"left": 2, "right": 7}, {"left": 3}, {"left": 4}]


def test_items_of_a_sender_can_be_dropped() -> None:
    box: Mailbox[str, int] = Mailbox()
    for number in range(3):
        box.put("left", number, 3)
    box.put("right", 7)
    assert (box.has("left"), box.has("nobody")) == (True, False)
    assert (box.drop("left"), box.drop("left")) == (3, 0)
    assert not box.has("left")
    assert box.take() == {"right": 7}


def test_close_ends_the_wait_with_and_without_items() -> None:
    box: Mailbox[str, int] = Mailbox()
    results = []
    waiting = threading.Thread(target=lambda: results.append(box.wait()))
    waiting.start()
    box.close()
    waiting.join(timeout=10)
    assert results == [False]
    box.put("left", 1)
    assert box.wait() is False


def test_wait_leaves_the_items_to_take() -> None:
    box: Mailbox[str, int] = Mailbox()
    box.put("left", 1)
    assert box.wait() is True
    assert box.drop("left") == 1
    assert box.take() == {}, "items that are dropped between wait and take are gone"
