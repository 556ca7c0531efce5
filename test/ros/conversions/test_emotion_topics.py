"""The topics of a camera's results, in bags and of the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from rosbags.interfaces import QosDurability
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from esr_core.pipeline import EmotionPipeline, FrameResult
from esr_ros.annotation.annotate import AnswerWriter
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions.emotion_topics import ImageResult, bag_bases, emotion_topics
from esr_ros.node.publishers import Publishers
from esr_ros.parameters import NodeOptions

RGB = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def node(context: rclpy.Context) -> Any:
    own = rclpy.create_node("camera", context=context)
    yield own
    own.destroy_node()


@pytest.mark.parametrize(
    ("image", "suffixes"), [("", []), ("raw", ["/image"]), ("compressed", ["/image/compressed"])]
)
def test_messages_have_the_declared_types(image: str, suffixes: list[str]) -> None:
    topics = emotion_topics(image)
    always = ["", "/events", "/image_annotations", "/detections", "/vision_info"]
    assert [topic.suffix for topic in topics] == [*always, *suffixes]
    result = ImageResult(Header(), "ESR-9", FrameResult([], []), RGB.shape, RGB)
    for topic in topics:
        for message in topic.build(result):
            assert type(message) is topic.message_type
    assert topics[0].type_name == "esr_ros/msg/EmotionArray"


@pytest.mark.parametrize("image", ["raw", "compressed"])
def test_node_and_bags_have_the_same_topics(node: Any, tmp_path: Path, image: str) -> None:
    pipeline = EmotionPipeline()
    options = NodeOptions(annotated_image=image)
    before = set(node.publishers)
    Publishers(node, "/emotion", options, pipeline.model.metadata)
    published = {
        each.topic_name: (
            each.msg_type.__name__,
            each.qos_profile.depth,
            each.qos_profile.durability.name,
        )
        for each in set(node.publishers) - before
    }
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        AnswerWriter(writer, "/emotion", pipeline, image)
        written = {}
        for each in writer._writer.connections:
            (qos,) = each.ext.offered_qos_profiles
            durability = QosDurability(qos.durability).name
            written[each.topic] = each.msgtype.rpartition("/")[2], qos.depth, durability
    assert published == written


def test_image_is_compressed_only_for_a_subscriber(
    node: Any, robot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    draw = ImageResult.annotated
    monkeypatch.setattr(ImageResult, "annotated", lambda self: built.append("") or draw(self))
    options = NodeOptions(annotated_image="compressed")
    publishers = Publishers(node, "emotion", options, EmotionPipeline().model.metadata)
    publishers.publish(Header(), RGB, FrameResult([], []))
    assert not built
    me = robot(image_topic="none")
    received = me.hear(CompressedImage, "emotion/image/compressed")
    assert me.spin_until(lambda: node.count_subscribers("emotion/image/compressed") == 1)

    def has_arrived() -> bool:
        publishers.publish(Header(), RGB, FrameResult([], []))
        return bool(received)

    assert me.spin_until(has_arrived)
    assert built


def test_names_in_bags_are_those_of_the_node() -> None:
    assert bag_bases(["/camera/image_raw"]) == ["/emotion"]
    assert bag_bases(["/camera/image_raw"], "faces") == ["/faces"]
    assert bag_bases(["/l/image_raw", "/r/image_raw/compressed"]) == ["/l/emotion", "/r/emotion"]
