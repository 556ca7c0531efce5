"""Messages as bytes: ROS reads ours, and nothing that comes ends the process."""

from __future__ import annotations

import random
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from std_msgs.msg import Header

from esr_core.errors import ImageError
from esr_core.pipeline import EmotionPipeline
from esr_ros.bags import cdr
from esr_ros.bags.cdr import COMPRESSED, IMAGE
from esr_ros.conversions import messages
from esr_ros.conversions.image_decoding import decode
from esr_ros.demo.scene import Scene, SceneRenderer

HEADER = Header(stamp=Time(sec=7, nanosec=8), frame_id="camera")


@pytest.fixture(scope="module")
def made() -> Any:
    """Messages of all kinds that are written, by their types."""
    rgb = SceneRenderer(Scene(((1.0, 2),))).draw(0)
    pipeline = EmotionPipeline()
    faces = pipeline.step(rgb, 0.0)
    assert len(faces) == 2
    return {
        "esr_ros/msg/EmotionArray": messages.emotion_array(HEADER, faces, rgb.shape),
        "vision_msgs/msg/Detection2DArray": messages.detection_array(HEADER, faces, rgb.shape),
        "foxglove_msgs/msg/ImageAnnotations": messages.image_annotations(HEADER, faces, rgb.shape),
        "vision_msgs/msg/VisionInfo": messages.vision_info(HEADER, "ESR-9"),
        IMAGE: messages.image(HEADER, rgb),
        COMPRESSED: messages.jpeg(HEADER, rgb, 90),
    }


def test_ros_reads_what_was_written(made: Any) -> None:
    for kind, message in made.items():
        data = cdr.write(message, kind)
        assert deserialize_message(data, type(message)) == message, kind
        assert cdr.write(message, kind) == data


def test_written_and_read(made: Any) -> None:
    read = cdr.read(cdr.write(made[IMAGE], IMAGE), IMAGE)
    assert (read.header.stamp.sec, read.header.frame_id) == (7, "camera")
    assert (decode(read) == decode(made[IMAGE])).all()


@pytest.mark.parametrize("kind", [IMAGE, COMPRESSED])
def test_bytes_that_are_no_message_are_an_error(made: Any, kind: str) -> None:
    small = made[kind]
    small.data = small.data[:48]
    whole = cdr.write(small, kind)
    dice = random.Random(3)
    wrong = 0
    for _ in range(2000):
        data = bytearray(whole[: dice.randrange(len(whole))] if dice.random() < 0.3 else whole)
        for _ in range(dice.randrange(1, 5)):
            if data:
                data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            decode(cdr.read(bytes(data), kind))
        except (cdr.MessageError, ImageError):
            wrong += 1
    assert wrong > 1000


def test_a_type_that_is_not_installed() -> None:
    with pytest.raises(cdr.DefinitionError, match="of no_msgs/msg/Thing is not installed"):
        cdr.read(b"", "no_msgs/msg/Thing")
