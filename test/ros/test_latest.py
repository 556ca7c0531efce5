"""The mailbox: newest wins."""

import threading

from esr_ros.latest import Latest


def test_newest_wins_and_the_displaced_is_reported() -> None:
    box: Latest[int] = Latest()
    assert [box.put(1), box.put(2), box.put(3)] == [False, True, True]
    assert box.take() == 3
    assert box.put(4) is False


def test_close_wakes_the_one_who_waits() -> None:
    box: Latest[int] = Latest()
    got = []
    waiting = threading.Thread(target=lambda: got.append(box.take()))
    waiting.start()
    box.close()
    waiting.join(timeout=10)
    assert got == [None]
