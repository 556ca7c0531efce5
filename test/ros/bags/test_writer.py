"""Copies of bags: all that is inside besides messages is kept, or named."""

from __future__ import annotations

import sqlite3
from io import BytesIO
from pathlib import Path
from typing import Callable

import bags
import pytest
from commands import esr, report
from mcap.reader import McapReader, make_reader
from mcap.writer import Writer
from rosbags.interfaces import MessageDefinitionFormat

from esr_ros.bags.message_definitions import installed
from esr_ros.bags.reader import BagReader
from esr_ros.bags.writer import BagWriter

QOS = {"offered_qos_profiles": ""}


def made(path: Path, more: Callable[[Writer], object]) -> Path:
    """Write an MCAP file with a text message, and with what a function adds."""
    with open(path, "wb") as stream:
        writer = Writer(stream)
        writer.start("ros2")
        kind = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data\n")
        topic = writer.register_channel("/chatter", "cdr", kind, QOS)
        writer.add_message(topic, 5, b"\0\1\0\0\1\0\0\0\0", 5)
        more(writer)
        writer.finish()
    return path


def copied(source: Path, path: Path, storage: str = "mcap") -> list[str]:
    """Copy a bag; returns what was left out."""
    with BagReader(source) as bag, BagWriter(path, storage) as writer:
        writer.write_extras(bag)
        for message in bag.messages(bag.connections):
            writer.write(*message)
        assert bag.damage == []
    return writer.left_out


def opened(path: Path) -> McapReader:
    return make_reader(BytesIO(bags.storage_file(path).read_bytes()))


def notes(writer: Writer) -> None:
    writer.add_attachment(3, 2**63, "calibration.yaml", "text/yaml", b"fx: 1\0\xff")
    writer.add_attachment(0, 0, "", "", b"")
    writer.add_metadata("robot", {"name": "r2", "": "\u00e9"})
    writer.add_metadata("rosbag2", {"serialized_metadata": "custom_data: {site: 0x10}"})


def test_attachments_and_metadata_records_are_kept(tmp_path: Path) -> None:
    source = made(tmp_path / "source.mcap", notes)
    assert copied(source, tmp_path / "copy") == []
    with open(source, "rb") as stream:
        before = make_reader(stream)
        attachments, records = list(before.iter_attachments()), list(before.iter_metadata())
    assert len(attachments) == 2
    copy = opened(tmp_path / "copy")
    assert list(copy.iter_attachments()) == attachments
    *others, own = copy.iter_metadata()
    assert [*others, records[1]] == records  # the recorder's own is written again
    assert own.name == "rosbag2"
    assert "site: '0x10'" in own.metadata["serialized_metadata"]


def test_sqlite_has_no_attachments_so_they_are_named(tmp_path: Path) -> None:
    source = made(tmp_path / "source.mcap", notes)
    assert copied(source, tmp_path / "copy", "sqlite3") == [
        "attachment calibration.yaml: only MCAP files have any",
        "attachment : only MCAP files have any",
        "metadata record robot: only MCAP files have any",
    ]


def test_an_attachment_that_is_not_as_written_is_damage(tmp_path: Path) -> None:
    source = made(tmp_path / "source.mcap", notes)
    source.write_bytes(source.read_bytes().replace(b"fx: 1", b"fx: 2"))
    with BagReader(source) as bag:
        assert len(list(bag.records())) == 2
        assert ["an attachment, at byte " in each for each in bag.damage] == [True]


def test_attachments_of_an_unfinished_file_are_kept(tmp_path: Path) -> None:
    source = made(tmp_path / "source.mcap", notes)
    source.write_bytes(source.read_bytes()[:-300])
    with BagReader(source) as bag:
        assert [each.name for each in bag.records()] == ["calibration.yaml", "", "robot"]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_custom_data_is_kept_as_it_is_written(tmp_path: Path, storage: str) -> None:
    """Values that look like numbers, dates or nothing are texts."""
    values = {"run": "007", "version": "1.10", "day": "2026-01-02", "none": "", "ok": "yes"}
    source = tmp_path / "source"
    with BagWriter(source, storage) as writer:
        writer.put(writer.offer("/chatter", "std_msgs/msg/String"), 2, b"")
    metadata = source / "metadata.yaml"
    lines = "".join(f"\n    {key}: {value}" for key, value in values.items())
    metadata.write_text(metadata.read_text().replace("custom_data: null", f"custom_data:{lines}"))
    assert copied(source, tmp_path / "copy", storage) == []
    (tmp_path / "copy" / "metadata.yaml").unlink()
    with BagReader(source) as bag, BagReader(tmp_path / "copy") as copy:
        assert bag.custom_data() == values
        assert copy.custom_data() == values


def test_a_channel_without_a_schema_is_kept(tmp_path: Path) -> None:
    def bare(writer: Writer) -> None:
        writer.add_message(writer.register_channel("/raw", "cdr", 0, QOS), 7, b"\xff" * 8, 7)

    source = made(tmp_path / "source.mcap", bare)
    assert copied(source, tmp_path / "copy") == []
    assert bags.content(tmp_path / "copy") == bags.content(source)
    found = {
        channel.topic: schema for schema, channel, _ in opened(tmp_path / "copy").iter_messages()
    }
    assert found["/raw"] is None


def test_topics_without_a_definition_are_kept(tmp_path: Path) -> None:
    def unknown(writer: Writer) -> None:
        for number, (encoding, text) in enumerate([("", b""), ("ros2msg", b"float32[ x ?")]):
            kind = writer.register_schema(f"no_msgs/msg/N{number}", encoding, text)
            topic = writer.register_channel(f"/{number}", "cdr", kind, QOS)
            writer.add_message(topic, 7, b"\xff" * 8, 7)

    source = made(tmp_path / "source.mcap", unknown)
    for storage in ("mcap", "sqlite3"):
        assert copied(source, tmp_path / storage, storage) == []
        assert bags.content(tmp_path / storage) == bags.content(source)
    assert copied(tmp_path / "sqlite3", tmp_path / "again") == []
    for path in (tmp_path / "mcap", tmp_path / "again"):
        summary = opened(path).get_summary()
        assert summary is not None
        found = {each.name: (each.encoding, each.data) for each in summary.schemas.values()}
        assert found["no_msgs/msg/N0"] == ("", b"")
        assert found["no_msgs/msg/N1"] == ("ros2msg", b"float32[ x ?")


def test_a_bag_of_humble_keeps_topics_of_unknown_types(tmp_path: Path) -> None:
    """Its SQLite file has no definitions and no hashes."""
    with BagWriter(tmp_path / "humble", "sqlite3") as writer:
        writer.put(writer.offer("/chatter", "std_msgs/msg/String"), 2, b"data")
    with sqlite3.connect(bags.storage_file(tmp_path / "humble")) as database:
        database.execute("UPDATE topics SET type = 'no_msgs/msg/N', type_description_hash = ''")
        database.execute("DROP TABLE message_definitions")
    database.close()
    (tmp_path / "humble" / "metadata.yaml").unlink()
    assert copied(tmp_path / "humble", tmp_path / "copy", "sqlite3") == []
    assert bags.content(tmp_path / "copy") == {"/chatter": [(2, b"data")]}


@pytest.mark.parametrize("encoding", ["ros2idl", "omgidl"])
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_type_in_idl_is_kept(tmp_path: Path, encoding: str, storage: str) -> None:
    heading = "=" * 80 + "\nIDL: no_msgs/msg/N\n"
    text = "module no_msgs { module msg {\n struct N { double x; };\n}; };\n"

    def idl(writer: Writer) -> None:
        data = (heading if encoding == "ros2idl" else "") + text
        kind = writer.register_schema("no_msgs/msg/N", encoding, data.encode())
        writer.add_message(writer.register_channel("/n", "cdr", kind, QOS), 7, bytes(12), 7)

    source = made(tmp_path / "source.mcap", idl)
    assert copied(source, tmp_path / "copy", storage) == []
    assert bags.content(tmp_path / "copy") == bags.content(source)
    with BagReader(tmp_path / "copy") as bag:
        (found,) = (each for each in bag.connections if each.topic == "/n")
    assert found.msgdef == (MessageDefinitionFormat.IDL, heading + text)
    assert found.digest.startswith("RIHS01_")


def test_two_definitions_of_a_type_are_kept(tmp_path: Path) -> None:
    def older(writer: Writer) -> None:
        kind = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string text\n")
        writer.add_message(writer.register_channel("/old", "cdr", kind, QOS), 7, bytes(8), 7)

    assert copied(made(tmp_path / "source.mcap", older), tmp_path / "copy") == []
    found = opened(tmp_path / "copy").iter_messages()
    texts = {channel.topic: schema and schema.data for schema, channel, _ in found}
    assert texts == {"/chatter": b"string data\n", "/old": b"string text\n"}


def test_chunks_have_checksums(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        topic = writer.offer("/chatter", "std_msgs/msg/String")
        for number in range(40):
            writer.put(topic, number, bytes(100_000))
    data = bytearray(bags.storage_file(tmp_path / "bag").read_bytes())
    data[len(data) // 2] ^= 1
    bags.storage_file(tmp_path / "bag").write_bytes(data)
    with BagReader(tmp_path / "bag") as bag:
        assert len(list(bag.messages(bag.connections))) in (29, 30)
        assert any("are not as written" in each for each in bag.damage)


def test_an_index_that_is_not_as_written_is_damage(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        writer.put(writer.offer("/chatter", "std_msgs/msg/String"), 5, b"data")
    file = bags.storage_file(tmp_path / "bag")
    data = bytearray(file.read_bytes())
    at = data.rfind(b"/chatter")  # in the index, which is read first
    data[at : at + 8] = b"/chitter"
    file.write_bytes(data)
    with BagReader(tmp_path / "bag") as bag:
        assert [each.topic for each in bag.connections] == ["/chatter"]
        assert bag.damage == ["bag.mcap: its index is not as written"]
        assert len(list(bag.messages(bag.connections))) == 1


def test_the_command_keeps_and_names(tmp_path: Path) -> None:
    bags.recorded(tmp_path / "walk", bags.Scene(((0.4, 1),), rate_hz=10.0))
    (image,) = bags.content(tmp_path / "walk").items()

    def more(writer: Writer) -> None:
        notes(writer)
        definition = installed("sensor_msgs/msg/CompressedImage")
        assert definition is not None
        data = definition.data.encode()
        kind = writer.register_schema("sensor_msgs/msg/CompressedImage", "ros2msg", data)
        topic = writer.register_channel(image[0], "cdr", kind, QOS)
        for time_ns, content in image[1]:
            writer.add_message(topic, time_ns, content, time_ns)

    made(tmp_path / "noted.mcap", more)
    done = report(esr(tmp_path, "annotate", "noted.mcap", "--json"))
    assert done["left_out"] == []
    copy = opened(tmp_path / "noted_emotions")
    assert [each.name for each in copy.iter_attachments()] == ["calibration.yaml", ""]
    with BagReader(tmp_path / "noted_emotions") as bag:
        assert set(bag.custom_data()) == {"site", "esr_ros"}
    named = esr(tmp_path, "annotate", "noted.mcap", "--storage", "sqlite3", "-o", "out")
    assert named.returncode == 2
    assert "noted.mcap: attachment calibration.yaml: only MCAP files have any" in named.stderr
