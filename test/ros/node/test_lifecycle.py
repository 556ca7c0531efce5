"""Lifecycle transitions in any order and number."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import GetState
from numpy.typing import NDArray

Photo = NDArray[np.uint8]
CONFIGURE = Transition.TRANSITION_CONFIGURE
ACTIVATE = Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
CLEANUP = Transition.TRANSITION_CLEANUP


def state(me: Any) -> int:
    name = "/emotion_node/get_state"
    return int(me.call(GetState, name, GetState.Request(), repeat=True).current_state.id)


def resident_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def counted(pid: int, what: str) -> int:
    return len(list(Path(f"/proc/{pid}/{what}").iterdir()))


def test_a_hundred_rounds_leak_nothing(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start("-p", "autostart:=false", "-p", "reliability:=reliable", "-p", "humans:=true")
    me = robot()
    pid = node.process.pid
    rounds: list[tuple[float, int, int]] = []
    for number in range(100):
        assert me.change_state(CONFIGURE), node.said
        assert me.change_state(ACTIVATE)
        if number % 10 == 0:
            me.answers.clear()
            me.meet(to_image(photograph))
        assert me.change_state(DEACTIVATE)
        assert me.change_state(CLEANUP)
        rounds.append((resident_mb(pid), counted(pid, "fd"), counted(pid, "task")))
    # The lowest of 30: on a busy machine, a freed network's 30 MB go back some rounds later.
    before, after = ([min(values) for values in zip(*rounds[i : i + 30])] for i in (10, 70))
    assert after[0] < before[0] + 10, rounds
    assert after[1] <= before[1] + 3, rounds
    assert after[2] <= before[2] + 1, rounds
    assert node.stop() == 0


def test_transitions_that_do_not_fit_are_refused(start: Any, robot: Any) -> None:
    """Every transition from every state: it is done or refused, and the node lives."""
    node = start("-p", "autostart:=false")
    me = robot()
    allowed = {
        (State.PRIMARY_STATE_UNCONFIGURED, CONFIGURE): State.PRIMARY_STATE_INACTIVE,
        (State.PRIMARY_STATE_INACTIVE, ACTIVATE): State.PRIMARY_STATE_ACTIVE,
        (State.PRIMARY_STATE_INACTIVE, CLEANUP): State.PRIMARY_STATE_UNCONFIGURED,
        (State.PRIMARY_STATE_ACTIVE, DEACTIVATE): State.PRIMARY_STATE_INACTIVE,
    }
    visited = set()
    # A walk that comes through all pairs of transitions, in both orders.
    for pair in itertools.product((CONFIGURE, ACTIVATE, DEACTIVATE, CLEANUP), repeat=2):
        for number in pair:
            now = state(me)
            visited.add((now, number))
            expected = allowed.get((now, number))
            assert me.change_state(number) is (expected is not None), node.said
            assert state(me) == (now if expected is None else expected)
    assert set(allowed) <= visited
    assert node.stop() == 0
    assert "Traceback" not in node.said
