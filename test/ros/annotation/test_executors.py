"""The workers that analyze images."""

from __future__ import annotations

import time
from multiprocessing import active_children
from multiprocessing.connection import Connection

import pytest

from esr_core.pipeline import PipelineOptions
from esr_ros.annotation.executors import process_executor


def test_pipes_of_a_pool_whose_worker_died_are_closed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Closed by two threads at once, the number could be that of a new pool's pipe already."""
    closed: list[Connection] = []
    close = Connection._close

    def close_slowly(connection: Connection) -> None:
        closed.append(connection)
        time.sleep(0.3)
        close(connection)

    monkeypatch.setattr(Connection, "_close", close_slowly)
    with process_executor(PipelineOptions(), workers=1) as executor:
        assert executor.submit([])() == []
        (worker,) = active_children()
        worker.kill()
        assert executor.submit([])() == []
        assert worker not in active_children()
    assert closed
    assert len(set(map(id, closed))) == len(closed)
