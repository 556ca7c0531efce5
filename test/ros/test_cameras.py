"""Several cameras and one network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from esr_core.errors import OptionError
from esr_ros.camera import bases

Photo = NDArray[np.uint8]
TOPICS = 'image_topics:=["left/image_raw", "right/image_raw"]'


def test_each_camera_has_answers_and_ids_of_its_own(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start("-p", TOPICS)
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
    assert "listening to /image_raw (Image, reliable, depth 1)" in node.said


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (["image_raw"], {"image_raw": "emotion"}),
        (["/a/image_raw"], {"/a/image_raw": "emotion"}),
        (["a/x", "b/x"], {"a/x": "a/emotion", "b/x": "b/emotion"}),
        (
            ["/a/x/compressed", "image_raw"],
            {"/a/x/compressed": "/a/emotion", "image_raw": "emotion"},
        ),
    ],
)
def test_where_answers_go(topics: list[str], expected: dict[str, str]) -> None:
    assert bases(topics) == expected


def test_two_cameras_must_not_answer_on_one_topic(start: Any) -> None:
    with pytest.raises(OptionError, match="would both be answered on head/emotion"):
        bases(["head/left", "head/right"])
    node = start("-p", 'image_topics:=["head/left", "head/right"]')
    assert node.exit_code() == 2
    assert "each needs a namespace of its own" in node.said
    assert "Traceback" not in node.said
