"""Bags that lack a part of their messages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import bags
import pytest
from annotation import TOPIC
from commands import esr, refusal, report
from ruamel.yaml import YAML

from esr_ros.bags.cdr import COMPRESSED
from esr_ros.bags.reader import BagReader
from esr_ros.bags.writer import BagWriter
from esr_ros.demo.scene import Scene


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_what_can_be_read_of_a_damaged_bag_is_answered(tmp_path: Path, storage: str) -> None:
    whole = bags.recorded(tmp_path / "whole", Scene(((3.0, 1),), rate_hz=30.0), storage=storage)
    bags.damaged(whole, tmp_path / "cut", keep=0.5)
    esr(tmp_path, "annotate", "whole")
    done = esr(tmp_path, "annotate", "cut", "--json")
    summary = report(done, 2)
    assert 15 < summary["answered"] < 60
    assert len(summary["damage"]) >= 1
    assert done.stderr.startswith("esr annotate: cut: damaged: whole.")
    cut, full = (
        bags.content(tmp_path / f"{name}_emotions")["/emotion"] for name in ("cut", "whole")
    )
    assert cut == full[: len(cut)]


def test_damaged_bytes_are_noticed_by_all_commands(tmp_path: Path) -> None:
    """The chunks of bags of this package have checksums."""
    bags.recorded(tmp_path / "walk", Scene(((2.0, 1),), rate_hz=10.0), compressed=False)
    report(esr(tmp_path, "annotate", "walk", "-o", "bag", "--json"))
    file = bags.storage_file(tmp_path / "bag")
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(each ^ 0x55 for each in data[middle : middle + 200])
    file.write_bytes(data)
    for program, *words in (
        ("esr", "annotate", "bag", "-o", "out", "--emotion-topic", "again"),
        ("esr", "report", "bag", "-o", "page.html"),
        ("bag_player", "bag", "--rate", "100", "--wait", "0"),
    ):
        done = subprocess.run(
            [program, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2, done.stderr
        assert "damaged: " in done.stderr, program
        assert "are not as written" in done.stderr, program


def test_recorded_time_of_messages_in_any_order(tmp_path: Path) -> None:
    """Without an index they come in the order of the file: here the newest first."""
    bags.recorded(tmp_path / "walk", Scene(((2.0, 1),), rate_hz=5.0), compressed=False)
    with BagReader(tmp_path / "walk") as bag, BagWriter(tmp_path / "back", "mcap") as writer:
        for connection, time_ns, data in reversed([*bag.messages(bag.connections)]):
            writer.write(connection, time_ns, data)
    bags.damaged(tmp_path / "back", tmp_path / "cut", keep=0.6)
    summary = report(esr(tmp_path, "annotate", "cut", "--json"), 2)
    assert summary["recorded_s"] == pytest.approx((summary["images"] - 1) / 5.0, abs=0.01)
    assert summary["recorded_s"] > 0.5


def counted(bag: Path, topic: str, count: int) -> None:
    """Let a bag's metadata count so many messages on a topic."""
    file, yaml = bag / "metadata.yaml", YAML()
    content = yaml.load(file)
    for each in content["rosbag2_bagfile_information"]["topics_with_message_count"]:
        if each["topic_metadata"]["name"] == topic:
            each["message_count"] = count
    yaml.dump(content, file)


def test_images_that_a_bag_counts_but_lacks(walk: Path, annotated: Path, tmp_path: Path) -> None:
    for count, damage in {
        60: [f"metadata.yaml counts 60 messages on {TOPIC}, but 42 are there"],
        42: [],
        30: [],
    }.items():
        bag = bags.damaged(walk, tmp_path / f"counts_{count}")
        counted(bag, TOPIC, count)
        done = esr(tmp_path, "annotate", bag, "-o", f"out_{count}", "--json")
        summary = report(done, 2 if damage else 0)
        assert (summary["answered"], summary["damage"]) == (42, damage)
        assert bags.answers(tmp_path / f"out_{count}") == bags.answers(annotated)


@pytest.mark.parametrize("ticks", [0, 5])
def test_no_image_can_be_read(tmp_path: Path, ticks: int) -> None:
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        writer.offer(TOPIC, COMPRESSED)
        tick = writer.offer("/tick", "std_msgs/msg/Empty")
        for number in range(ticks):
            writer.put(tick, 10**18 + number, b"\0\1\0\0\0")
    counted(tmp_path / "bag", TOPIC, 60)
    counted(tmp_path / "bag", "/tick", 7)
    error = refusal(esr(tmp_path, "annotate", "bag"))
    assert error == (
        f"esr annotate: bag: there are no images on {TOPIC} (metadata.yaml counts 60 messages on "
        f"{TOPIC}, but 0 are there; metadata.yaml counts 7 messages on /tick, but {ticks} are "
        "there)"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["bag"]
