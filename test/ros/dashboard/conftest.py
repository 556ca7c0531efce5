"""Fixtures of the live page: one camera, node, dashboard and browser for all tests of a file."""

from __future__ import annotations

from typing import Any, Iterator

import pytest
import rclpy
from browser import running
from live_page import Program, Rig, until


@pytest.fixture(scope="module")
def observer() -> Iterator[Any]:
    context = rclpy.Context()
    rclpy.init(context=context)
    yield rclpy.create_node("observer", context=context)
    rclpy.try_shutdown(context=context)


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    program = Program(tmp_path_factory.mktemp("dashboard") / "log", "emotion_dashboard", "port:=0")
    yield program
    assert program.stop() == 0
    assert "Traceback" not in program.said


@pytest.fixture(scope="module")
def rig(
    dashboard: Program, observer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("rig")
    with running(folder) as window:
        made = Rig(folder, dashboard.url(), observer, window)
        try:
            yield made
        finally:
            made.camera.stop()
            made.node.stop()


@pytest.fixture
def page(rig: Rig) -> Rig:
    """The page, opened again, with a picture and a face."""
    rig.browser.open("about:blank")
    until(lambda: rig.watched() == 0, "no viewers, and so no cameras of the test before")
    rig.browser.open(rig.url)
    until(rig.picture, "a camera")
    until(lambda: "Live, " in rig.text() and "happy" in rig.text(), "a face")
    return rig
