"""The workers that analyze images."""

from __future__ import annotations

import sys
import time
from multiprocessing import active_children
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import pytest

from esr_core.pipeline import PipelineOptions
from esr_ros.annotation.executors import ExecutorError, process_executor, ray_cluster


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


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (Exception("The node\ntimed out during startup."), ExecutorError, "timed out"),
        (ConnectionError("refused"), ExecutorError, "refused"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_cluster_that_does_not_start_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, kind: Any, line: str
) -> None:
    """Ray raises an Exception of no class of its own where a node starts too slowly."""

    def init(*args: Any, **flags: Any) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init))
    with pytest.raises(kind, match=line) as raised, ray_cluster(""):
        pass
    if kind is ExecutorError:
        assert str(raised.value).startswith("no Ray at this machine: ")
        assert "\n" not in str(raised.value)
