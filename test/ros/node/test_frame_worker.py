"""The worker thread of a real node, which runs in the process of the test."""

from __future__ import annotations

import threading
from typing import Any, Iterator, Sequence

import numpy as np
import pytest
import rclpy
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool

from esr_core.perception.stage_timer import StageTimer
from esr_core.pipeline import FrameAnalysis, View
from esr_ros.emotion_node import EmotionNode
from esr_ros.msg import EmotionEvent

Photo = NDArray[np.uint8]


@pytest.fixture
def node() -> Iterator[EmotionNode]:
    """An active node, whose executor spins in a thread."""
    arguments = ["--ros-args", "-p", "reliability:=reliable"]
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node, executor = EmotionNode(), SingleThreadedExecutor()
    executor.add_node(node)
    for transition in (node.trigger_configure, node.trigger_activate):
        assert transition() == TransitionCallbackReturn.SUCCESS
    spinning = threading.Thread(target=executor.spin)
    spinning.start()
    yield node
    executor.shutdown()
    spinning.join()
    assert node.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    node.destroy_node()
    rclpy.shutdown()


def test_image_in_analysis_is_not_published_once_the_node_is_disabled(
    node: EmotionNode, robot: Any, photograph: Photo, to_image: Any
) -> None:
    assert node.pipeline is not None
    analyze, (camera,) = node.pipeline.analyze, node.cameras
    analyzing, may_go_on = threading.Event(), threading.Event()

    def slow(views: Sequence[View], timer: StageTimer) -> list[FrameAnalysis]:
        analyzing.set()
        assert may_go_on.wait(60)
        return analyze(views, timer)

    me = robot()
    events = me.hear(EmotionEvent, "emotion/events")
    me.meet(to_image(np.full_like(photograph, 90)))
    assert me.spin_until(lambda: me.node.count_publishers("emotion/events") == 1)
    client = me.node.create_client(SetBool, "/emotion_node/enable")
    assert client.wait_for_service(60)

    node.pipeline.analyze = slow  # type: ignore[method-assign]
    number, answered = me.send(to_image(photograph)), camera.counters.answered
    assert me.spin_until(analyzing.is_set)
    disabled = client.call_async(SetBool.Request(data=False))
    assert me.spin_until(lambda: not camera.is_subscribed)
    may_go_on.set()
    assert me.spin_until(disabled.done)
    assert disabled.result().success
    me.diagnostics.clear()
    assert me.spin_until(lambda: "answered" in me.diagnostics)
    assert number not in me.answers
    assert me.diagnostics["answered"] == str(answered)
    totals = camera.counters.totals()
    assert totals["received"] == totals["answered"] + totals["stale"]
    assert events == [], "the face was never published, so it cannot disappear"


def test_loss_of_images_is_reported_again(
    node: EmotionNode, robot: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    (camera,), me = node.cameras, robot()
    assert me.spin_until(lambda: node.count_publishers("/image_raw") == 1)
    for number in (1, 100, 200):
        camera._warned_s.clear()  # as after warning_period_s
        camera._count_missed(number)
    assert capfd.readouterr().err.count("most images on /image_raw do not arrive") == 2
