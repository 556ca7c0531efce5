"""The topics of a bag that are published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from std_msgs.msg import String

from esr_ros.bags.reader import BagError, BagReader
from esr_ros.bags.writer import BagWriter
from esr_ros.playback.playback import Playback


@pytest.fixture
def node(context: rclpy.Context) -> Iterator[Any]:
    own = rclpy.create_node("player", context=context)
    yield own
    own.destroy_node()


def write(path: Path, *topics: tuple[str, str, str]) -> Path:
    """A bag with topics of a name, a type, and a definition; one message each."""
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind, definition in topics:
            made = writer.add_connection(topic, kind, msgdef=definition, rihs01="RIHS01_0")
            writer.write(made, 1, serialize_message(String(data="hello")))
    return path


def test_topics_that_would_be_misread_are_left_out_with_the_reason(
    node: Any, tmp_path: Path
) -> None:
    foreign = ("/foreign", "nowhere_msgs/msg/Odd", "int32 x\n")
    other = ("/other", "std_msgs/msg/String", "string data\nint32 x\n")
    bag = BagReader(write(tmp_path / "bag", foreign, other))
    with bag, pytest.raises(BagError, match="nothing to play") as refused:
        Playback(node, bag, (), with_clock=False)
    error = str(refused.value)
    assert "/foreign: nowhere_msgs/msg/Odd is not installed" in error
    assert "/other: recorded with another definition of std_msgs/msg/String" in error


def test_recorded_clock_gives_way_to_the_own_one(node: Any, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        for topic, kind in (
            ("/clock", "rosgraph_msgs/msg/Clock"),
            ("/chatter", "std_msgs/msg/String"),
        ):
            writer.put(writer.offer(topic, kind), 1, b"\0\1\0\0" + bytes(8))
    with BagReader(tmp_path / "bag") as bag:
        playback = Playback(node, bag, (), with_clock=True)
        assert (playback.topics, playback.count) == (["/chatter"], 1)
        assert Playback(node, bag, (), with_clock=False).topics == ["/chatter", "/clock"]


def test_topic_with_a_name_of_ros_1_is_left_out(node: Any, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        for topic in ("/camera/0/name", "/chatter"):
            writer.put(writer.offer(topic, "std_msgs/msg/String"), 1, b"\0\1\0\0" + bytes(8))
    rclpy.init()
    try:
        with BagReader(tmp_path / "bag") as bag:
            playback = Playback(node, bag, (), with_clock=False)
    finally:
        rclpy.shutdown()
    assert playback.topics == ["/chatter"]
    assert "token must not start with a number" in playback.left_out[0]
