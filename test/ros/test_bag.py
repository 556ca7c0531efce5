"""Bags whole, damaged, and none at all."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import bags
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from esr_ros.bag import Bag, BagError
from esr_ros.bag_writer import BagWriter
from esr_ros.photo_camera import Play

STORAGES = ("mcap", "sqlite3")
LONG = Play(((6.0, 1),), rate_hz=30.0)
TOPIC = "/image_raw/compressed"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bag of each form, of several megabytes."""
    folder = tmp_path_factory.mktemp("bags")
    for storage in STORAGES:
        bags.recorded(folder / storage, LONG, storage=storage)
    return folder


@pytest.mark.parametrize("storage", STORAGES)
def test_folder_and_file_hold_the_same(whole: Path, storage: str) -> None:
    messages = bags.content(whole / storage)
    assert [len(each) for each in messages.values()] == [LONG.frames]
    assert bags.content(bags.storage_file(whole / storage)) == messages
    with Bag(whole / storage) as bag:
        assert bag.storage == storage
        assert bag.image_topics() == [TOPIC]
        assert bag.damage == []


def test_both_forms_hold_the_same(whole: Path) -> None:
    assert bags.content(whole / "mcap") == bags.content(whole / "sqlite3")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("has_metadata", [True, False])
def test_what_is_left_of_a_bag_that_was_cut_off(
    whole: Path, tmp_path: Path, storage: str, has_metadata: bool
) -> None:
    cut = bags.damaged(whole / storage, tmp_path / "cut", keep=0.6)
    if not has_metadata:
        (cut / "metadata.yaml").unlink()
    messages = bags.content(whole / storage)[TOPIC]
    left = bags.content(cut)[TOPIC]
    assert 0.4 * len(messages) < len(left) < 0.7 * len(messages)
    assert left == messages[: len(left)]
    with Bag(cut) as bag:
        for _ in bag.messages(bag.connections):
            pass
        assert len(bag.damage) >= 1


def test_a_chunk_that_is_not_as_written_is_left_out(whole: Path, tmp_path: Path) -> None:
    flipped = bags.damaged(whole / "mcap", tmp_path / "flipped", flip=0.5)
    messages = bags.content(whole / "mcap")[TOPIC]
    # rosbags looks at checksums only where there are some; those of others' bags are.
    left = bags.content(flipped)[TOPIC]
    assert len(messages) - 30 <= len(left) <= len(messages)
    assert sum(each in messages for each in left) >= len(left) - 1


def test_rows_that_cannot_be_read_are_left_out(whole: Path, tmp_path: Path) -> None:
    broken = bags.damaged(whole / "sqlite3", tmp_path / "broken")
    file = bags.storage_file(broken)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 40 * 4096] = bytes([0xEE]) * (40 * 4096)
    file.write_bytes(data)
    messages = bags.content(whole / "sqlite3")[TOPIC]
    with Bag(broken) as bag:
        left = [(t, data) for _, t, data in bag.messages(bag.connections)]
    same = [each for each in left if each in messages]
    assert len(messages) * 0.7 < len(same) < len(messages)


def test_rows_that_are_no_messages_and_odd_qos_are_damage(whole: Path, tmp_path: Path) -> None:
    broken = bags.damaged(whole / "sqlite3", tmp_path / "broken")
    (broken / "metadata.yaml").unlink()
    with sqlite3.connect(bags.storage_file(broken)) as database:
        database.execute("UPDATE topics SET offered_qos_profiles = '\x02: ['")
        database.execute("UPDATE messages SET topic_id = 99 WHERE id = 3")
        database.execute("UPDATE messages SET timestamp = 'noon' WHERE id = 4")
        database.execute("UPDATE messages SET data = 7 WHERE id = 5")
    database.close()
    messages = bags.content(whole / "sqlite3")[TOPIC]
    with Bag(broken) as bag:
        left = [(t, data) for _, t, data in bag.messages(bag.connections)]
        assert any("3 messages cannot be read" in each for each in bag.damage)
    assert left == [*messages[:2], *messages[5:]]


def test_a_folder_without_metadata_is_read(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unfinished"
    shutil.copytree(whole / "sqlite3", folder)
    (folder / "metadata.yaml").unlink()
    assert bags.content(folder) == bags.content(whole / "sqlite3")


def test_several_files_without_metadata_are_said_to_be_taken_together(
    whole: Path, tmp_path: Path
) -> None:
    for name in ("a.db3", "b.db3"):
        shutil.copy(bags.storage_file(whole / "sqlite3"), tmp_path / name)
    with Bag(tmp_path) as bag:
        assert "taken for parts of one recording: a.db3, b.db3" in bag.damage[0]
        assert [each.msgcount for each in bag.connections] == [
            2 * len(bags.content(whole / "sqlite3")[TOPIC])
        ]


def test_a_folder_of_bags_is_pointed_into(whole: Path) -> None:
    with pytest.raises(BagError, match=rf"not a bag; .*; of the bags in it, give {whole}/\*"):
        Bag(whole)


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_compressed_bags_are_read(whole: Path, tmp_path: Path, mode: CompressionMode) -> None:
    with Bag(whole / "sqlite3") as bag:
        writer = Writer(tmp_path / "small", version=8, storage_plugin=StoragePlugin.SQLITE3)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            (source,) = bag.connections
            made = writer.add_connection(
                source.topic, source.msgtype, msgdef=source.msgdef.data, rihs01=source.digest
            )
            for _, time_ns, data in bag.messages([source]):
                writer.write(made, time_ns, data)
    assert bags.content(tmp_path / "small") == bags.content(whole / "sqlite3")


def test_no_bags(tmp_path: Path) -> None:
    (tmp_path / "text.mcap").write_text("hello")
    (tmp_path / "text.db3").write_text("hello " * 1000)
    (tmp_path / "empty.mcap").touch()
    (tmp_path / "old.bag").touch()
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "folder").mkdir()
    sqlite3.connect(tmp_path / "other.db3").execute("CREATE TABLE people (name)").connection.close()
    for name, said in {
        "nowhere": "there is no such bag",
        "text.mcap": "not a bag that can be read",
        "text.db3": "not a bag that can be read",
        "other.db3": "not a bag that can be read",
        "empty.mcap": "an empty bag",
        "old.bag": "a bag of ROS 1",
        "picture.jpg": "not a bag",
        "folder": "not a bag",
    }.items():
        with pytest.raises(BagError, match=said):
            Bag(tmp_path / name)


def test_which_topic_is_meant(whole: Path, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "two", "mcap") as writer:
        for topic in ("/left/image_raw", "/right/image_raw", "/depth/compressedDepth"):
            kind = "CompressedImage" if topic.endswith("Depth") else "Image"
            writer.put(writer.offer(topic, f"sensor_msgs/msg/{kind}"), 1, b"")
        writer.put(writer.offer("/chatter", "std_msgs/msg/String"), 2, b"")
    with Bag(tmp_path / "two") as bag:
        with pytest.raises(BagError, match="--topic /left/image_raw, --topic /right/image_raw"):
            bag.image_topics()
        assert bag.image_topics(["/right/image_raw"]) == ["/right/image_raw"]
        with pytest.raises(BagError, match="no images on /chatter, only on /left/image_raw, /r"):
            bag.image_topics(["/chatter"])
    with BagWriter(tmp_path / "none", "mcap") as writer:
        writer.put(writer.offer("/chatter", "std_msgs/msg/String"), 2, b"")
    with Bag(tmp_path / "none") as bag, pytest.raises(BagError, match="no images in it, only std_"):
        bag.image_topics()
