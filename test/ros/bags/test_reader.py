"""Bags whole, damaged, and none at all."""

from __future__ import annotations

import resource
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Callable

import bags
import mcap.writer
import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from sensor_msgs.msg import CompressedImage, Image

from esr_ros.bags import cdr
from esr_ros.bags.reader import BagError, BagReader
from esr_ros.bags.writer import BagWriteError, BagWriter
from esr_ros.demo.scene import Scene

STORAGES = ("mcap", "sqlite3")
LONG = Scene(((6.0, 1),), rate_hz=30.0)
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
    with BagReader(whole / storage) as bag:
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
    with BagReader(cut) as bag:
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
    with BagReader(broken) as bag:
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
    with BagReader(broken) as bag:
        left = [(t, data) for _, t, data in bag.messages(bag.connections)]
        assert any("3 messages cannot be read" in each for each in bag.damage)
    assert left == [*messages[:2], *messages[5:]]


def test_a_folder_without_metadata_is_read(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unfinished"
    shutil.copytree(whole / "sqlite3", folder)
    (folder / "metadata.yaml").unlink()
    assert bags.content(folder) == bags.content(whole / "sqlite3")


def test_several_files_without_metadata_are_reported_as_taken_together(
    whole: Path, tmp_path: Path
) -> None:
    for name in ("a.db3", "b.db3"):
        shutil.copy(bags.storage_file(whole / "sqlite3"), tmp_path / name)
    with BagReader(tmp_path) as bag:
        assert "taken for parts of one recording: a.db3, b.db3" in bag.damage[0]
        assert [each.msgcount for each in bag.connections] == [
            2 * len(bags.content(whole / "sqlite3")[TOPIC])
        ]


def test_a_folder_of_bags_is_pointed_into(whole: Path) -> None:
    with pytest.raises(BagError, match=rf"not a bag; .*; of the bags in it, give {whole}/\*"):
        BagReader(whole)


Rewritten = Callable[..., list[tuple[int, bytes]]]


@pytest.fixture
def rewritten(whole: Path, tmp_path: Path) -> Rewritten:
    """Write the MCAP again with Foxglove's library; returns its messages."""

    def write(
        channels: int = 1,
        order: Callable[[list[Any]], list[Any]] = lambda each: each,
        **flags: Any,
    ) -> list[tuple[int, bytes]]:
        with open(bags.storage_file(whole / "mcap"), "rb") as stream:
            found = list(make_reader(stream).iter_messages())
        with open(tmp_path / "again.mcap", "wb") as stream:
            writer = mcap.writer.Writer(stream, chunk_size=100_000, **flags)
            writer.start("ros2")
            schema, channel, _ = found[0]
            assert schema is not None
            kind = writer.register_schema(schema.name, schema.encoding, schema.data)
            numbers = [writer.register_channel(channel.topic, "cdr", kind) for _ in range(channels)]
            messages = order([message for _, _, message in found])
            for i, each in enumerate(messages):
                number = numbers[i % channels]
                writer.add_message(number, each.log_time, each.data, each.publish_time)
            writer.finish()
        return [(each.log_time, each.data) for each in messages]

    return write


@pytest.mark.parametrize(
    "flags",
    [
        {"index_types": mcap.writer.IndexType.CHUNK},  # no index of the messages in a chunk
        {"index_types": mcap.writer.IndexType.NONE},
        {"repeat_channels": False, "use_statistics": False},
        {"repeat_schemas": False},
        {"index_types": mcap.writer.IndexType.CHUNK, "use_statistics": False},
        {"use_chunking": False},
        {"use_chunking": False, "repeat_schemas": False},
        {"compression": mcap.writer.CompressionType.LZ4},
        {"channels": 2},  # of the same topic and type, as several publishers have them
    ],
)
def test_whatever_index_a_file_has_all_messages_are_read(
    rewritten: Rewritten, tmp_path: Path, flags: dict[str, Any]
) -> None:
    messages = rewritten(**flags)
    assert bags.content(tmp_path / "again.mcap") == {TOPIC: messages}
    with BagReader(tmp_path / "again.mcap") as bag:
        assert [(each.topic, each.msgcount) for each in bag.connections] == [(TOPIC, LONG.frames)]
        assert bag.damage == []


def swapped(each: list[Any]) -> list[Any]:
    return [each[1], each[0], *each[2:20], each[21], each[20], *each[22:]]


def test_without_chunks_messages_come_as_written(rewritten: Rewritten, tmp_path: Path) -> None:
    messages = rewritten(order=swapped, use_chunking=False)
    assert bags.content(tmp_path / "again.mcap") == {TOPIC: messages}


def test_without_an_index_none_is_lost_that_comes_late(
    rewritten: Rewritten, tmp_path: Path
) -> None:
    messages = rewritten(order=swapped, index_types=mcap.writer.IndexType.NONE)
    assert sorted(bags.content(tmp_path / "again.mcap")[TOPIC]) == sorted(messages)


def test_a_type_that_ros_does_not_know_is_no_damage(whole: Path, tmp_path: Path) -> None:
    with open(tmp_path / "other.mcap", "wb") as stream:
        writer = mcap.writer.Writer(stream)
        writer.start("ros2")
        for number, name in enumerate(("foxglove.Log", "std_msgs/String")):
            kind = writer.register_schema(name, "jsonschema", b"{}")
            writer.add_message(writer.register_channel(f"/{number}", "json", kind), 1, b"{}", 1)
        writer.finish()
    with BagReader(tmp_path / "other.mcap") as bag, BagWriter(tmp_path / "copy", "mcap") as copy:
        for message in bag.messages(bag.connections):
            copy.write(*message)
        assert [each.topic for each in bag.connections] == ["/0", "/1"]
        assert bag.damage == []
    assert len(copy.left_out) == 2
    shutil.copytree(whole / "sqlite3", tmp_path / "unknown")
    with sqlite3.connect(bags.storage_file(tmp_path / "unknown")) as database:
        database.execute("UPDATE message_definitions SET encoding = 'unknown'")
    database.close()
    with BagReader(tmp_path / "unknown") as bag:
        assert len(list(bag.messages(bag.connections))) == LONG.frames
        assert bag.damage == []


def test_more_files_than_may_be_open(whole: Path, tmp_path: Path) -> None:
    file = bags.storage_file(bags.recorded(tmp_path / "one", Scene(((0.2, 0),), rate_hz=10.0)))
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(40):
        shutil.copy(file, tmp_path / f"many_{number}.mcap")
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, most))
    try:
        assert len(bags.content(tmp_path)[TOPIC]) == 40 * 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))


def test_files_that_are_listed_count(whole: Path, tmp_path: Path) -> None:
    walk = tmp_path / "walk"
    shutil.copytree(whole / "mcap", walk)
    text = (walk / "metadata.yaml").read_text()
    twice = text.replace("  - mcap.mcap", "  - mcap.mcap\n  - mcap.mcap")
    (walk / "metadata.yaml").write_text(twice)
    shutil.copy(walk / "mcap.mcap", walk / "other.mcap")
    assert bags.content(walk) == bags.content(whole / "mcap")
    with BagReader(walk) as bag:
        assert bag.damage == ["other.mcap is not in metadata.yaml, and left out"]


def test_a_chunk_that_cannot_be_decompressed_is_damage(
    rewritten: Rewritten, tmp_path: Path
) -> None:
    messages = rewritten(compression=mcap.writer.CompressionType.ZSTD)
    path = tmp_path / "again.mcap"
    data = bytearray(path.read_bytes())
    begins = data.find(b"\x28\xb5\x2f\xfd", len(data) // 2)
    data[begins : begins + 4] = b"oops"
    path.write_bytes(data)
    with BagReader(path) as bag:
        left = [(t, data) for _, t, data in bag.messages(bag.connections)]
        assert any("are not as written" in each for each in bag.damage)
    assert 0.5 * len(messages) < len(left) < len(messages)
    assert left == [each for each in messages if each in left]


def test_what_is_lost_without_a_word_is_reported(whole: Path, tmp_path: Path) -> None:
    """A block of zeros in a chunk without a checksum, and a file that is not there."""
    zeroed = bags.damaged(whole / "mcap", tmp_path / "zeroed")
    file = bags.storage_file(zeroed)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 100_000] = bytes(100_000)  # more than a message
    file.write_bytes(data)
    with BagReader(zeroed) as bag:
        left = list(bag.messages(bag.connections))
        assert len(left) < LONG.frames
        lost = f"{LONG.frames - len(left)} of {LONG.frames} messages on {TOPIC} are missing"
        assert any(lost in each or "are not as written" in each for each in bag.damage)

    half = tmp_path / "half"
    shutil.copytree(whole / "mcap", half)
    text = (half / "metadata.yaml").read_text()
    text = text.replace(f"message_count: {LONG.frames}", f"message_count: {2 * LONG.frames}")
    text = text.replace("  - mcap.mcap", "  - mcap.mcap\n  - mcap_1.mcap")
    (half / "metadata.yaml").write_text(text)
    with BagReader(half) as bag:
        assert "mcap_1.mcap is not there" in bag.damage
        assert any(f"counts {2 * LONG.frames} messages on {TOPIC}" in each for each in bag.damage)
        assert len(list(bag.messages(bag.connections))) == LONG.frames


def test_qos_in_metadata_that_differs_from_the_files_loses_nothing(
    whole: Path, tmp_path: Path
) -> None:
    for storage in STORAGES:
        shutil.copytree(whole / storage, tmp_path / storage)
        path = tmp_path / storage / "metadata.yaml"
        assert "depth: 10" in path.read_text()
        path.write_text(path.read_text().replace("depth: 10", "depth: 7"))
        assert bags.content(tmp_path / storage) == bags.content(whole / storage)


def test_files_that_overlap_in_time_are_read_each_by_itself(
    rewritten: Rewritten, tmp_path: Path
) -> None:
    messages = rewritten()
    shutil.copy(tmp_path / "again.mcap", tmp_path / "x_0.mcap")
    data = bytearray((tmp_path / "again.mcap").read_bytes())
    data[len(data) // 2] ^= 0xFF  # Foxglove's library writes checksums
    (tmp_path / "x_1.mcap").write_bytes(data)
    (tmp_path / "again.mcap").unlink()
    left = bags.content(tmp_path)[TOPIC]
    first, second = left[: len(messages)], left[len(messages) :]
    assert first == messages
    assert 0.5 * len(messages) < len(second) < len(messages)
    assert second == [each for each in messages if each in second]


def test_a_log_that_was_not_brought_in_is_reported(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "sqlite3", tmp_path / "killed")
    file = bags.storage_file(tmp_path / "killed")
    file.with_name(file.name + "-wal").write_bytes(b"pages")
    with BagReader(tmp_path / "killed") as bag:
        assert any("sqlite3.db3-wal and not read" in each for each in bag.damage)
        assert len(list(bag.messages(bag.connections))) == LONG.frames


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%41b", "a b\n"])
@pytest.mark.parametrize("storage", STORAGES)
def test_odd_names_are_read(whole: Path, tmp_path: Path, storage: str, name: str) -> None:
    shutil.copytree(whole / storage, tmp_path / name)
    with BagReader(tmp_path / name) as bag:
        assert len(list(bag.messages(bag.connections))) == LONG.frames
        assert bag.damage == []


def test_sqlite_is_not_written_beside_the_place_it_is_meant_for(tmp_path: Path) -> None:
    with pytest.raises(BagWriteError, match="cannot be written as sqlite3; choose another"):
        BagWriter(tmp_path / "x#1", "sqlite3")
    assert list(tmp_path.iterdir()) == []
    with BagWriter(tmp_path / "x#1", "mcap") as writer:
        writer.put(writer.offer("/chatter", "std_msgs/msg/String"), 2, b"")
    assert list(bags.content(tmp_path / "x#1")) == ["/chatter"]


def compressed(whole: Path, path: Path, mode: CompressionMode) -> Path:
    with BagReader(whole / "sqlite3") as bag:
        writer = Writer(path, version=8, storage_plugin=StoragePlugin.SQLITE3)
        writer.set_compression(mode, CompressionFormat.ZSTD)
        with writer:
            (source,) = bag.connections
            made = writer.add_connection(
                source.topic, source.msgtype, msgdef=source.msgdef.data, rihs01=source.digest
            )
            for _, time_ns, data in bag.messages([source]):
                writer.write(made, time_ns, data)
    return path


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
@pytest.mark.parametrize("has_metadata", [True, False])
def test_compressed_bags_are_read(
    whole: Path, tmp_path: Path, mode: CompressionMode, has_metadata: bool
) -> None:
    small = compressed(whole, tmp_path / "small", mode)
    if not has_metadata:
        (small / "metadata.yaml").unlink()
    assert bags.content(small) == bags.content(whole / "sqlite3")
    with BagReader(small) as bag:
        assert bag.storage == "sqlite3"
        assert bag.damage == []


@pytest.mark.parametrize("half", ["decompressed by a player", "compressed by a recorder"])
def test_half_a_copy_beside_a_file_is_not_read(whole: Path, tmp_path: Path, half: str) -> None:
    small = compressed(whole, tmp_path / "small", CompressionMode.FILE)
    (packed,) = (each for each in small.iterdir() if each.name != "metadata.yaml")
    plain = packed.with_suffix("")
    plain.write_bytes(bags.storage_file(whole / "sqlite3").read_bytes())
    broken = plain if half.startswith("decompressed") else packed
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    if broken == packed:
        (small / "metadata.yaml").unlink()  # it is written last
    assert bags.content(small) == bags.content(whole / "sqlite3")
    with BagReader(small) as bag:
        assert bag.damage == []


@pytest.mark.parametrize("mode", [CompressionMode.MESSAGE, CompressionMode.FILE])
def test_of_compressed_bags_that_were_cut_off_the_beginning_is_read(
    whole: Path, tmp_path: Path, mode: CompressionMode
) -> None:
    small = compressed(whole, tmp_path / "small", mode)
    (file,) = (each for each in small.iterdir() if each.name != "metadata.yaml")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    messages = bags.content(whole / "sqlite3")[TOPIC]
    left = bags.content(small)[TOPIC]
    assert 0.3 * len(messages) < len(left) < 0.7 * len(messages)
    assert left == messages[: len(left)]


def test_no_bags(tmp_path: Path) -> None:
    (tmp_path / "text.mcap").write_text("hello")
    (tmp_path / "text.db3").write_text("hello " * 1000)
    (tmp_path / "empty.mcap").touch()
    (tmp_path / "old.bag").touch()
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "folder").mkdir()
    sqlite3.connect(tmp_path / "other.db3").execute("CREATE TABLE people (name)").connection.close()
    for name, error in {
        "nowhere": "there is no such bag",
        "text.mcap": "not a bag that can be read",
        "text.db3": "not a bag that can be read",
        "other.db3": "not a bag that can be read",
        "empty.mcap": "an empty bag",
        "old.bag": "a bag of ROS 1",
        "picture.jpg": "not a bag",
        "folder": "not a bag",
    }.items():
        with pytest.raises(BagError, match=error):
            BagReader(tmp_path / name)


def test_which_topic_is_meant(whole: Path, tmp_path: Path) -> None:
    with BagWriter(tmp_path / "two", "mcap") as writer:
        for topic in ("/left/image_raw", "/right/image_raw", "/depth/compressedDepth"):
            kind = "CompressedImage" if topic.endswith("Depth") else "Image"
            writer.put(writer.offer(topic, f"sensor_msgs/msg/{kind}"), 1, b"")
        writer.put(writer.offer("/chatter", "std_msgs/msg/String"), 2, b"")
    with BagReader(tmp_path / "two") as bag:
        with pytest.raises(BagError, match="--topic /left/image_raw, --topic /right/image_raw"):
            bag.image_topics()
        assert bag.image_topics(["/right/image_raw"]) == ["/right/image_raw"]
        with pytest.raises(BagError, match="no images on /chatter, only on /left/image_raw, /r"):
            bag.image_topics(["/chatter"])
    with BagWriter(tmp_path / "none", "mcap") as writer:
        writer.put(writer.offer("/chatter", "std_msgs/msg/String"), 2, b"")
    with BagReader(tmp_path / "none") as bag, pytest.raises(
        BagError, match="no images in it, only std_"
    ):
        bag.image_topics()


def images(path: Path, topics: dict[str, str]) -> BagReader:
    """Record an image on each topic, in an encoding, or a compressed one in a format."""
    with BagWriter(path, "mcap") as writer:
        for topic, form in topics.items():
            message = Image(encoding=form, height=1, width=1, step=1, data=b"\0")
            if ";" in form:
                message = CompressedImage(format=form, data=b"\0")
            kind = cdr.COMPRESSED if ";" in form else cdr.IMAGE
            writer.put(writer.offer(topic, kind), 1, cdr.write(message, kind))
    return BagReader(path)


def test_depth_is_no_camera(tmp_path: Path) -> None:
    depth = {
        "/camera/depth/image_rect_raw": "16UC1",
        "/camera/aligned_depth_to_color/image_raw": "16UC1",
        "/oak/stereo/image_raw": "32FC1",
        "/oak/stereo/image_raw/compressed": "16UC1; png compressed",
        "/camera/depth/image": "mono16",
    }
    with images(tmp_path / "one", {**depth, "/camera/color/image_raw": "rgb8"}) as bag:
        assert bag.image_topics() == ["/camera/color/image_raw"]
        named = ["/camera/depth/image_rect_raw"]
        assert bag.image_topics(named) == named
    with images(tmp_path / "named", {"/depth/color/image": "rgb8"}) as bag:
        assert bag.image_topics() == ["/depth/color/image"]
    error = pytest.raises(BagError, match="no images in it, only depth on /points")
    with images(tmp_path / "none", {"/points": "32FC1"}) as bag, error:
        bag.image_topics()


def test_text_that_is_named_mcap_is_no_mcap(tmp_path: Path) -> None:
    path = tmp_path / "notes.mcap"
    path.write_text("not a recording")
    with pytest.raises(BagError, match="it is no MCAP file"), BagReader(path) as bag:
        list(bag.messages(bag.connections))
