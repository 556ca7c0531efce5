"""Definitions and hashes of types, compared with ROS's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_share_directory
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from esr_ros.bags import message_definitions


@pytest.mark.parametrize("package", ["esr_ros", "sensor_msgs", "geometry_msgs", "diagnostic_msgs"])
def test_hashes_are_those_of_ros(package: str) -> None:
    folder = Path(get_package_share_directory(package)) / "msg"
    names = sorted(file.stem for file in folder.glob("*.msg"))
    assert names
    for name in names:
        described = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        kind = f"{package}/msg/{name}"
        found = message_definitions.installed(kind)
        assert found is not None
        assert (
            message_definitions.type_hash(kind, found) == described["type_hashes"][0]["hash_string"]
        ), kind


def test_all_that_is_in_it_follows() -> None:
    found = message_definitions.installed("esr_ros/msg/EmotionArray")
    assert found is not None
    named = [line[5:] for line in found.data.splitlines() if line.startswith("MSG: ")]
    assert sorted(named) == [
        *("builtin_interfaces/Time", "esr_ros/Emotion", "sensor_msgs/RegionOfInterest"),
        "std_msgs/Header",
    ]


def test_what_is_not_known() -> None:
    assert message_definitions.installed("no_msgs/msg/Thing") is None
    assert message_definitions.installed("std_msgs/msg/Thing") is None
    nonsense = MessageDefinition(MessageDefinitionFormat.MSG, "float32[ x\n?")
    assert message_definitions.type_hash("a_msgs/msg/Thing", nonsense) is None
