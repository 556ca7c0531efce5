"""Definitions and hashes of types, compared with ROS's own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_share_directory
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from esr_ros.bags import message_definitions


def in_idl(kind: str, headings: bool = True) -> MessageDefinition:
    """Return a definition as rosbag2 writes it for a type without a .msg file."""
    texts: dict[str, str] = {}
    waiting = [kind]
    while waiting:
        kind = waiting.pop(0)
        if kind not in texts:
            package, folder, name = kind.split("/")
            file = Path(get_package_share_directory(package)) / folder / f"{name}.idl"
            texts[kind] = file.read_text(encoding="utf-8")
            waiting += re.findall(r'#include "(.*)\.idl"', texts[kind])
    parts = [f"{'=' * 80}\nIDL: {kind}\n{text}" for kind, text in texts.items()]
    text = "\n".join(parts) if headings else next(iter(texts.values()))
    return MessageDefinition(MessageDefinitionFormat.IDL, text)


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
        assert message_definitions.type_hash(kind, in_idl(kind)) == message_definitions.type_hash(
            kind, found
        ), kind


def test_idl_in_other_forms_is_read() -> None:
    """Without headings, with the line ends of Windows, with types of one file in another."""
    kind = "geometry_msgs/msg/Point"
    plain = in_idl(kind, headings=False)
    digest = message_definitions.type_hash(kind, plain)
    assert digest is not None
    dos = plain._replace(data=in_idl(kind).data.replace("\n", "\r\n"))
    assert message_definitions.type_hash(kind, dos) == digest
    assert message_definitions.with_heading(kind, plain) == in_idl(kind).data
    assert message_definitions.with_heading(kind, in_idl(kind)) == in_idl(kind).data
    line = "=" * 80
    linked = plain._replace(
        data=f"{line}\nIDL: a/msg/A\n"
        "module a { module msg { struct A { a::msg::Three b; }; }; };\n"
        f"{line}\nIDL: a/msg/B\nmodule a {{ module msg {{ typedef double Three[3]; }}; }};\n"
    )
    types = message_definitions.store("a/msg/A", linked)
    assert types.deserialize_cdr(b"\0\1\0\0" + bytes(24), "a/msg/A").b.tolist() == [0.0] * 3


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
