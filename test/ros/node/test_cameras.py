"""Several cameras and one network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from esr_core.errors import OptionError
from esr_ros.conversions.emotion_topics import bases

Photo = NDArray[np.uint8]
TOPICS = 'image_topics:=["left/image_raw", "right/image_raw"]'


def test_each_camera_has_answers_and_ids_of_its_own(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start("-p", TOPICS, "-p", "reliability:=reliable")
    left = robot(image_topic="left/image_raw", emotion_topic="left/emotion")
    right = robot(image_topic="right/image_raw", emotion_topic="right/emotion")
    left.meet(to_image(photograph))
    left.ask(to_image(photograph))
    assert right.answers == {}
    right.meet(to_image(np.ascontiguousarray(photograph[:, ::-1])))
    ours, theirs = left.ask(to_image(photograph)), right.ask(to_image(photograph[:, ::-1]))
    assert [len(answer.emotions) for answer in (ours, theirs)] == [1, 1]
    assert [answer.emotions[0].face_id for answer in (ours, theirs)] == [1, 1]
    assert ours.emotions[0].roi.x_offset != theirs.emotions[0].roi.x_offset
    assert node.stop() == 0
    assert "Traceback" not in node.said


def test_bad_image_of_one_camera_does_not_concern_the_other(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start(
        "-p", 'image_topics:=["left/image_raw", "right/image_raw"]', "-p", "reliability:=reliable"
    )
    left = robot(image_topic="left/image_raw", emotion_topic="left/emotion")
    right = robot(image_topic="right/image_raw", emotion_topic="right/emotion")
    left.meet(to_image(photograph))
    right.meet(to_image(photograph))
    for _ in range(5):
        left.send(Image(encoding="rgb8"))
        assert len(right.ask(to_image(photograph)).emotions) == 1
    assert len(left.ask(to_image(photograph)).emotions) == 1


def test_quality_of_service_can_be_overridden(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    override = "qos_overrides./image_raw.subscription.reliability:=reliable"
    node = start("-p", override, "-p", "qos_overrides./emotion.publisher.depth:=3")
    me = robot()
    me.meet(to_image(photograph))
    assert "subscribed to /image_raw (Image, reliable, depth 1)" in node.said


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["image_raw"], ["emotion"]),
        (["/a/image_raw"], ["emotion"]),
        (["a/x", "b/x"], ["a/emotion", "b/emotion"]),
        (["/a/x/compressed", "image_raw"], ["/a/emotion", "emotion"]),
    ],
)
def test_emotion_topics(topics: list[str], expected: list[str]) -> None:
    assert bases(topics, topics) == expected


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ('image_topics:=["head/left", "head/right"]', "would both be published on head/emotion"),
        ('image_topics:=["image_raw", "/image_raw"]', "image_topics has /image_raw twice"),
        (
            'image_topics:=["left image"]',
            "cannot configure: image_topics: 'left image' is no name of a topic: failed to resolve "
            "name: topic name must not",
        ),
        (
            'image_topics:=["left//image_raw"]',
            "cannot configure: image_topics: 'left//image_raw' is no name of a topic: failed to "
            "resolve name: topic name must not",
        ),
        ("image_topics:=[]", "a parameter is an empty list, such as image_topics: []"),
        (
            "qos_overrides./image_raw.subscription.reliability:=bogus",
            "] [emotion_node]: cannot activate: ",
        ),
        (
            "qos_overrides./emotion.publisher.reliability:=bogus",
            "] [emotion_node]: cannot configure: ",
        ),
        (
            "qos_overrides./image_raw.subscription.depth:=hello",
            "must be of type int, but got 'hello'",
        ),
        ("qos_overrides./image_raw.subscription.reliability:=3", "must be of type str, but got 3"),
        (
            "qos_overrides./image_raw.subscription.depth:=99999999999",
            "is out of bounds: 99999999999",
        ),
        ("qos_overrides./image_raw.subscription.deadline:=5", "only depth, history, reliability"),
        (
            "qos_overrides./imag_raw.subscription.depth:=5",
            "is for none of this node's topics: /diagnostics.pub",
        ),
        ('image_topics:=["a b"]', "image_topics: 'a b' is no name of a topic"),
        (
            'image_topics:=["/left/a", "left/b"]',
            "would both be published on left/emotion",
        ),
        ("detections_topic:=a//b", "detections_topic: 'a//b' is no name of a topic"),
        ("qos_overrides./imag_raw:=5", "is for none of this node's topics: /diagnostics.pub"),
    ],
)
def test_topics_and_their_quality_that_cannot_be(start: Any, parameter: str, message: str) -> None:
    node = start("-p", parameter)
    assert node.exit_code() == 2, node.said
    assert message in node.said
    assert "Traceback" not in node.said


def test_each_silent_camera_is_named(start: Any) -> None:
    node = start("-p", 'image_topics:=["left/image_raw", "right/image_raw"]')
    for camera in ("left", "right"):
        node.wait_until(
            lambda camera=camera: f"no images yet on /{camera}/image_raw" in node.said, camera
        )


def test_failed_transitions_leave_nothing_behind(start: Any, robot: Any) -> None:
    bad = "qos_overrides./emotion/events.publisher.reliability:=bogus"
    node = start("-p", "autostart:=false", "-p", bad)
    me = robot()
    for _ in range(3):
        assert not me.change_state(Transition.TRANSITION_CONFIGURE)
        assert "cannot configure" in node.said
    assert me.spin_until(lambda: me.node.count_publishers("emotion") == 0, 10)
    assert node.stop() == 0


def test_results_of_two_cameras_on_one_topic_by_different_names() -> None:
    names, topics = ["/left/a", "left/b"], ["/left/a", "/left/b"]
    with pytest.raises(OptionError, match="would both be published on left/emotion"):
        bases(names, topics, lambda name: f"/{name.lstrip('/')}")


def test_overrides_of_other_nodes_in_a_shared_file(start: Any, tmp_path: Path) -> None:
    file, override = tmp_path / "shared.yaml", "/camera/image_raw: {publisher: {depth: 3}}"
    file.write_text(f"/**: {{ros__parameters: {{qos_overrides: {{{override}}}}}}}\n")
    node = start("--params-file", str(file))
    node.wait_until(lambda: "subscribed to /image_raw" in node.said, "start")
    assert node.stop() == 0
