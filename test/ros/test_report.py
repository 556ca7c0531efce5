"""`esr report` of bags: with pictures of those who were in them, in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, Iterator

import pytest
from browser import running
from builtin_interfaces.msg import Time
from commands import esr, refusal
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import StoragePlugin, Writer
from std_msgs.msg import Header

from esr_core.emotions import LABELS
from esr_ros.bags import cdr, message_definitions
from esr_ros.bags.cdr import IMAGE
from esr_ros.bags.emotion_recording import EMOTIONS
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions.messages import image
from esr_ros.demo.photo_bag import record
from esr_ros.demo.scene import Scene
from esr_ros.msg import Emotion, EmotionArray

SCENES = ((0.5, 0), (2.0, 1), (2.0, 2), (1.0, 0))
BEGIN_S = 1_700_000_000


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bag with no face, one, two, none, annotated by `esr annotate`."""
    folder = tmp_path_factory.mktemp("bags")
    record(folder / "walk", Scene(SCENES, rate_hz=8.0), compressed=True)
    done = esr(folder, "annotate", "walk")
    assert done.returncode == 0, done.stderr
    return folder / "walk_emotions"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with running(tmp_path) as window:
        yield window


def data_of(path: Path) -> Any:
    """Return the data of the page's JavaScript."""
    text = path.read_text(encoding="ascii")
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def test_browser_shows_who_was_there(annotated: Path, tmp_path: Path, browser: Any) -> None:
    done = esr(tmp_path, "report", annotated)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "report.html: 3 faces in 44 images of 5.4 s\n"
    fields = data_of(tmp_path / "report.html")
    assert (fields["title"], fields["images"], fields["without_face"]) == ("walk_emotions", 44, 12)
    assert (fields["offered"], fields["unanswered"], fields["latencies_s"]) == (44, 0, None)
    assert fields["feeds"][0]["source"] == "/emotion"
    assert [face["images"] for face in fields["faces"]] == [16, 16, 16]
    browser.open(tmp_path / "report.html")
    assert browser.complaints() == []
    widths = browser.run("return [...document.images].map((each) => each.naturalWidth)")
    assert len(widths) == 3
    assert min(widths) > 60
    words = browser.run("return document.body.innerText")
    assert "made from the bag by esr annotate, so there is no latency to report" in words
    assert "2023-11-14" in words
    assert "NaN" not in words


def test_a_single_file_and_a_bag_without_its_images(annotated: Path, tmp_path: Path) -> None:
    done = esr(tmp_path, "report", annotated / "walk_emotions.mcap", "--title", "One file")
    assert done.returncode == 0, done.stderr
    fields = data_of(tmp_path / "report.html")
    assert (fields["title"], fields["offered"], fields["latencies_s"]) == ("One file", 44, None)
    esr(tmp_path, "annotate", annotated.parent / "walk", "-o", "bare", "--without-originals")
    done = esr(tmp_path, "report", "bare", "--overwrite")
    assert done.returncode == 0, done.stderr
    fields = data_of(tmp_path / "report.html")
    assert (fields["images"], fields["offered"]) == (44, None)
    assert [face["picture"] for face in fields["faces"]] == [None] * 3


def emotion(label: str = "happy") -> Emotion:
    probabilities = [0.65 if each == label else 0.05 for each in LABELS]
    face = Emotion(face_id=1, label=label, confidence=0.65, probabilities=probabilities)
    face.roi.x_offset, face.roi.y_offset, face.roi.width, face.roi.height = 240, 80, 100, 120
    return face


def live(path: Path, photograph: NDArray[Any], late_ns: int, topics: tuple[str, ...]) -> Path:
    """A bag as `ros2 bag record` makes it beside the node; every fourth image has no answer."""
    with BagWriter(path, "sqlite3") as writer:
        images = {
            name: writer.offer(name.replace("emotion", "image_raw"), IMAGE) for name in topics
        }
        answers = {name: writer.offer(name, EMOTIONS) for name in topics}
        for i in range(12):
            time_ns = BEGIN_S * 10**9 + i * 10**8
            header = Header(stamp=Time(sec=BEGIN_S + i // 10, nanosec=i % 10 * 10**8))
            label = "sad" if i > 6 else "happy"
            for name in topics:
                picture = serialize_message(image(header, photograph))
                writer.put(images[name], time_ns + late_ns, picture)
                if i % 4:
                    array = EmotionArray(header=header, emotions=[emotion(label)])
                    error = serialize_message(array)
                    writer.put(answers[name], time_ns + late_ns + 20_000_000, error)
    return path


def test_recorded_live_it_has_latency_and_drops(tmp_path: Path, photograph: NDArray[Any]) -> None:
    live(tmp_path / "live", photograph, 5_000_000, ("/emotion",))
    done = esr(tmp_path, "report", "live", "--json")
    assert done.returncode == 0, done.stderr
    fields = json.loads(done.stdout)
    assert fields["latencies_s"]["p50"] == pytest.approx(0.025)
    assert (fields["offered"], fields["unanswered"], fields["notes"]) == (12, 3, [])
    (change,) = data_of(tmp_path / "report.html")["changes"]
    assert (change["before"], change["after"]) == ("happy", "sad")
    assert change["picture"].startswith("data:image/jpeg")


def test_another_clock_is_no_latency(tmp_path: Path, photograph: NDArray[Any]) -> None:
    live(tmp_path / "replayed", photograph, 10**16, ("/emotion",))
    fields = json.loads(esr(tmp_path, "report", "replayed", "--json").stdout)
    assert fields["latencies_s"] is None
    assert "another clock" in fields["notes"][0]
    assert data_of(tmp_path / "report.html")["faces"][0]["picture"]


@pytest.mark.parametrize("seconds", [(0, 0, 0, 0), (20, 20, 0, 20), (20, 20, 20, 20)])
def test_without_right_stamps_the_times_of_the_recording_count(
    tmp_path: Path, photograph: NDArray[Any], seconds: tuple[int, ...]
) -> None:
    with BagWriter(tmp_path / "walk", "mcap") as writer:
        images = writer.offer("/image_raw", IMAGE)
        for i, sec in enumerate(seconds * 10):
            header = Header(stamp=Time(sec=sec))
            picture = serialize_message(image(header, photograph))
            writer.put(images, BEGIN_S * 10**9 + i * 10**8, picture)
    done = esr(tmp_path, "annotate", "walk")
    assert done.returncode == 0
    assert "times of the recording are used instead" in done.stderr
    assert "40 images answered, 1 face in 40" in done.stdout
    assert esr(tmp_path, "report", "walk_emotions").returncode == 0
    fields = data_of(tmp_path / "report.html")
    expected = 3.9 if 0 in seconds else 2.9  # until they are known to stand still
    assert fields["duration_s"] == pytest.approx(expected, abs=0.15)
    assert len(fields["faces"]) == 1
    assert fields["faces"][0]["picture"]
    assert any("the page has the times of the recording" in each for each in fields["notes"])


def test_several_topics_are_chosen_from(tmp_path: Path, photograph: NDArray[Any]) -> None:
    names = ("/left/emotion", "/right/emotion")
    live(tmp_path / "both", photograph, 0, names)
    error = refusal(esr(tmp_path, "report", "both"))
    assert "has several emotion topics; give --topic /left/emotion, --topic /right" in error
    done = esr(tmp_path, "report", "both", "--topic", names[0], "--topic", names[1])
    assert done.returncode == 0, done.stderr
    fields = data_of(tmp_path / "report.html")
    assert {feed["source"] for feed in fields["feeds"]} == set(names)
    assert (fields["offered"], fields["images"]) == (24, 18)
    assert all(face["picture"] for face in fields["faces"])


def test_of_a_damaged_bag_what_can_be_read(annotated: Path, tmp_path: Path) -> None:
    shutil.copytree(annotated, tmp_path / "cut")
    file = tmp_path / "cut" / "walk_emotions.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    done = esr(tmp_path, "report", "cut")
    assert done.returncode == 2
    assert done.stderr.startswith("esr report: cut: damaged: ")
    fields = data_of(tmp_path / "report.html")
    assert 0 < fields["images"] < 44
    assert any("Damaged: " in each for each in fields["notes"])


def test_bag_of_a_version_without_branches_evaluated(tmp_path: Path) -> None:
    """Its own definition counts, which lacks the last field of a face."""
    installed = message_definitions.installed(EMOTIONS)
    assert installed is not None
    assert "uint8 branches_evaluated" in installed.data
    lines = [line for line in installed.data.splitlines() if "uint8 branches_eval" not in line]
    older = MessageDefinition(MessageDefinitionFormat.MSG, "\n".join(lines))
    with Writer(tmp_path / "older", version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        digest = message_definitions.type_hash(EMOTIONS, older)
        topic = writer.add_connection("/emotion", EMOTIONS, msgdef=older.data, rihs01=digest)
        for i in range(3):
            header = Header(stamp=Time(sec=BEGIN_S + i))
            data = cdr.write(EmotionArray(header=header, emotions=[emotion()]), EMOTIONS)
            writer.write(topic, (BEGIN_S + i) * 10**9, data[:-1])
    done = esr(tmp_path, "report", "older", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert (summary["images"], len(summary["faces"])) == (3, 1)


def test_messages_that_are_none_are_left_out(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "odd", "mcap") as writer:
        fields = writer.offer("/emotion", EMOTIONS)
        header = Header(stamp=Time(sec=BEGIN_S))
        good = serialize_message(EmotionArray(header=header, emotions=[emotion()]))
        unknown = EmotionArray(header=header, emotions=[emotion("bored")])
        for i, data in enumerate([good, b"", good[:40], b"\xff" * 90, serialize_message(unknown)]):
            writer.put(fields, BEGIN_S * 10**9 + i, data)
    done = esr(tmp_path, "report", "odd")
    assert done.returncode == 2
    assert done.stderr == "esr report: odd: damaged: 4 of the messages on /emotion cannot be read\n"
    assert data_of(tmp_path / "report.html")["images"] == 1
    with BagWriter(tmp_path / "bad", "mcap") as writer:
        writer.put(writer.offer("/emotion", EMOTIONS), 1, b"")
    done = esr(tmp_path, "report", "bad", "--overwrite")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "esr report: bad: damaged: 1 of the messages on /emotion cannot be read",
        "esr report: bad: contains no images",
    ]


def test_command_says_what_is_wrong(annotated: Path, tmp_path: Path) -> None:
    walk = annotated.parent / "walk"
    (tmp_path / "folder").mkdir()
    (tmp_path / "no.mcap").write_bytes(b"no bag" * 99)
    (tmp_path / "faces.csv").write_text("")
    for arguments, error in (
        (
            (walk,),
            "no emotions in it, only sensor_msgs/msg/CompressedImage; run 'esr annotate",
        ),
        ((annotated, "--topic", "/emo"), "no emotions on /emo, only on /emotion"),
        (("folder",), "folder: not a bag; one is a folder with .mcap or .db3 files"),
        (("no.mcap",), "no.mcap: not a bag that can be read"),
        (("gone.db3",), "gone.db3: there is no such file or folder"),
        (("faces.csv", "--topic", "/emotion"), "--topic is for bags; faces.csv has no topics"),
    ):
        assert error in refusal(esr(tmp_path, "report", *arguments))
    assert not (tmp_path / "report.html").exists()
