"""Bags annotated by the command, whole, by one worker and by several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import List

import bags
import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from annotation import SIDES, TOPIC, Stopping
from builtin_interfaces.msg import Time
from commands import esr, refusal, report
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, View
from esr_ros.annotation.annotate import AnnotationJob, annotate
from esr_ros.bags import cdr
from esr_ros.bags.cdr import COMPRESSED
from esr_ros.bags.reader import BagReader
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions import messages
from esr_ros.conversions.image_decoding import decode
from esr_ros.demo.scene import Scene, SceneRenderer

EVENTS = "/emotion/events"
FOR_EACH_IMAGE = ("/emotion", "/emotion/detections", "/emotion/image_annotations")
OWN = (*FOR_EACH_IMAGE, EVENTS, "/emotion/vision_info")


def test_each_image_is_answered_as_the_pipeline_does(walk: Path, annotated: Path) -> None:
    summary = bags.content(annotated)
    assert set(summary) == {TOPIC, *OWN}
    assert summary[TOPIC] == bags.content(walk)[TOPIC]
    pipeline, stream = EmotionPipeline(), StreamState()
    for (time_ns, data), (answer_ns, answer) in zip(summary[TOPIC], summary["/emotion"]):
        image = cdr.read(data, "sensor_msgs/msg/CompressedImage")
        stamp = image.header.stamp
        rgb = decode(image)
        view = View(stream, rgb, float(stamp.sec + stamp.nanosec * 1e-9))
        (expected,) = pipeline.answer([view])
        header = Header(stamp=Time(sec=stamp.sec, nanosec=stamp.nanosec), frame_id="camera")
        array = messages.emotion_array(header, expected.faces, rgb.shape)
        assert answer == cdr.write(array, "esr_ros/msg/EmotionArray")
        assert answer_ns == time_ns
    events = [cdr.read(data, "esr_ros/msg/EmotionEvent") for _, data in summary[EVENTS]]
    assert [event.face_id for event in events if event.type == 0] == [1, 2, 3]


def test_annotations_are_the_faces(annotated: Path) -> None:
    kind = "foxglove_msgs/msg/ImageAnnotations"
    found = bags.content(annotated)["/emotion/image_annotations"]
    for (_, data), answer in zip(found, bags.emotions(annotated), strict=True):
        drawn, faces = cdr.read(data, kind), answer.emotions
        stamps = [drawn.timestamp, answer.header.stamp]
        assert len({(each.sec, each.nanosec) for each in stamps}) == 1
        texts = [f"{face.face_id}: {face.label} {face.confidence:.0%}" for face in faces]
        assert [each.text for each in drawn.texts] == texts
        corners = [(face.roi.x_offset, face.roi.y_offset) for face in faces]
        assert [(each.points[0].x, each.points[0].y) for each in drawn.points] == corners


def test_definitions_hashes_and_qos_are_inside(annotated: Path) -> None:
    with Reader(annotated) as reader:
        assert {each.topic for each in reader.connections} == {TOPIC, *OWN}
        for each in reader.connections:
            package, _, kind = each.msgtype.split("/")
            share = Path(get_package_share_directory(package))
            described = json.loads((share / "msg" / f"{kind}.json").read_text())
            assert each.digest == described["type_hashes"][0]["hash_string"], each.topic
            first_line = (share / "msg" / f"{kind}.msg").read_text().splitlines()[0]
            assert each.msgdef.data.startswith(first_line)
            (qos,) = each.ext.offered_qos_profiles
            assert qos.reliability.name == "RELIABLE"
            latched = each.topic == "/emotion/vision_info"
            assert (qos.durability.name == "TRANSIENT_LOCAL") == latched
        assert reader.message_count == 42 + 3 * 42 + 1 + len(bags.content(annotated)[EVENTS])


@pytest.mark.parametrize(
    "words",
    [[], ["--jobs", "2"], ["--engine", "ray"], ["--storage", "sqlite3"], ["--without-originals"]],
    ids=lambda words: " ".join(words) or "again",
)
def test_the_same_bytes_whoever_does_it(
    walk: Path, annotated: Path, tmp_path: Path, words: List[str]
) -> None:
    done = report(esr(tmp_path, "annotate", walk, "-o", "out", "--json", *words))
    assert (done["images"], done["answered"], done["faces"]) == (42, 42, 3)
    assert bags.answers(tmp_path / "out") == bags.answers(annotated)
    assert (TOPIC in bags.content(tmp_path / "out")) == ("--without-originals" not in words)
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_several_bags_on_a_cluster(walk: Path, annotated: Path, tmp_path: Path) -> None:
    other = bags.recorded(tmp_path / "other", Scene(((1.0, 2),), rate_hz=10.0), storage="sqlite3")
    esr(tmp_path, "annotate", other, "-o", "alone")
    done = esr(tmp_path, "annotate", walk, other, "-o", "out", "--engine", "ray")
    assert done.returncode == 0, done.stderr
    assert bags.answers(tmp_path / "out" / "walk_emotions") == bags.answers(annotated)
    assert bags.answers(tmp_path / "out" / "other_emotions") == bags.answers(tmp_path / "alone")


@pytest.mark.parametrize("words", [[], ["--engine", "ray"]], ids=["threads", "ray"])
def test_a_bag_that_fails_does_not_end_the_others(
    walk: Path, annotated: Path, tmp_path: Path, words: List[str]
) -> None:
    (tmp_path / "text.mcap").write_text("hello")
    given = ["text.mcap", "nowhere", walk]
    done = esr(tmp_path, "annotate", *given, "-o", "out", "--json", *words)
    assert done.returncode == 2
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    errors = {Path(each["bag"]).name: each["error"] for each in lines}
    assert errors["walk"] == ""
    assert errors["nowhere"] == "there is no such bag"
    assert errors["text.mcap"].startswith("not a bag that can be read")
    last = done.stderr.splitlines()[-1]
    assert last.startswith("esr annotate: 2 of 3 bags failed: ")
    assert "text.mcap" in last
    assert "nowhere: failed: there is no such bag" in done.stderr
    assert bags.answers(tmp_path / "out" / "walk_emotions") == bags.answers(annotated)
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["walk_emotions"]


def test_annotated_images(walk: Path, tmp_path: Path) -> None:
    report(esr(tmp_path, "annotate", walk, "-o", "out", "--json", "--image", "raw"))
    pictures = bags.content(tmp_path / "out")["/emotion/image"]
    shown = [decode(cdr.read(data, "sensor_msgs/msg/Image")) for _, data in pictures]
    recorded = bags.content(walk)[TOPIC]
    plain = [decode(cdr.read(data, "sensor_msgs/msg/CompressedImage")) for _, data in recorded]
    changed = [bool((a != b).any()) for a, b in zip(shown, plain)]
    assert len(shown) == 42
    assert changed == [4 <= i < 34 for i in range(42)]


def test_encodings_padding_and_what_is_no_image(tmp_path: Path) -> None:
    """All encodings of the node are processed, others are counted."""
    rgb = SceneRenderer(Scene(((1.0, 1),))).draw(0)
    good = messages.image(Header(), rgb)
    grey = Image(height=480, width=640, encoding="mono8", step=700)
    padded = np.zeros((480, 700), np.uint8)
    padded[:, :640] = rgb.mean(axis=2).astype(np.uint8)
    grey.data.frombytes(padded.tobytes())
    strange = Image(height=480, width=640, encoding="strange", step=1920, data=good.data)
    contents = [cdr.write(each, "sensor_msgs/msg/Image") for each in (good, grey, strange)]
    with BagWriter(tmp_path / "mixed", "mcap") as writer:
        topic = writer.offer("/image_raw", "sensor_msgs/msg/Image")
        for number, data in enumerate([*contents, b"", b"\0\1\0\0no message", contents[0][:5000]]):
            writer.put(topic, 10**18 + number * 10**8, data)
    done = esr(tmp_path, "annotate", "mixed", "--json")
    summary = report(done, 2)
    assert (summary["images"], summary["answered"], summary["undecodable"]) == (6, 2, 4)
    assert "encoding 'strange' is unknown" in summary["first_error"]
    assert "4 of 6 images cannot be decoded; the first: encoding 'strange'" in done.stderr
    # Without a stamp an image is of the time of its recording: it is one face in two images.
    faces = [
        [face.face_id for face in each.emotions]
        for each in bags.emotions(tmp_path / "mixed_emotions")
    ]
    assert faces == [[1], [1]]


def test_images_of_12_bits_are_as_bright_as_the_stream(tmp_path: Path) -> None:
    """An image without bright pixels has the range of those before, whichever process has it."""
    grey = SceneRenderer(Scene(((1.0, 1),))).draw(0).mean(axis=2).astype(np.uint16)
    with BagWriter(tmp_path / "wide", "mcap") as writer:
        topic = writer.offer("/image_raw", "sensor_msgs/msg/Image")
        for number in range(24):
            pixels = (grey * 257 >> 4) // (5 if number % 3 else 1)
            image = Image(height=480, width=640, encoding="mono16", step=1280)
            image.data.frombytes(pixels.astype("<u2").tobytes())
            writer.put(topic, 10**18 + number * 10**8, cdr.write(image, "sensor_msgs/msg/Image"))
    annotate_ = ("annotate", "wide", "--json", "--image", "raw")
    report(esr(tmp_path, *annotate_))
    report(esr(tmp_path, *annotate_, "-o", "two", "--jobs", 2))
    made = bags.content(tmp_path / "wide_emotions")
    assert made == bags.content(tmp_path / "two")
    arrays = bags.emotions(tmp_path / "wide_emotions")
    assert [len(each.emotions) for each in arrays] == [1] * 24
    assert {each.emotions[0].label for each in arrays} == {"happy"}
    shown = [decode(cdr.read(data, "sensor_msgs/msg/Image")) for _, data in made["/emotion/image"]]
    corner = [float(each[:40, :40].mean()) for each in shown]  # without a face
    bright = float(grey[:40, :40].mean())
    assert corner == pytest.approx([bright / (5 if i % 3 else 1) for i in range(24)], abs=1)


def test_bag_of_a_camera_that_is_mounted_upside_down(tmp_path: Path) -> None:
    rgb = SceneRenderer(Scene(((1.0, 1),))).draw(0)
    for name, pixels in (("upright", rgb), ("turned", rgb[::-1, ::-1])):
        with BagWriter(tmp_path / name, "mcap") as writer:
            topic = writer.offer("/image_raw", "sensor_msgs/msg/Image")
            data = cdr.write(messages.image(Header(), pixels), "sensor_msgs/msg/Image")
            writer.put(topic, 10**18, data)
    report(esr(tmp_path, "annotate", "upright", "--json"))
    report(esr(tmp_path, "annotate", "turned", "--json", "--rotate", 180))
    ((expected,),) = (each.emotions for each in bags.emotions(tmp_path / "upright_emotions"))
    ((face,),) = (each.emotions for each in bags.emotions(tmp_path / "turned_emotions"))
    assert face.probabilities.tolist() == expected.probabilities.tolist()
    assert face.roi.x_offset == 640 - expected.roi.x_offset - expected.roi.width
    assert face.roi.y_offset == 480 - expected.roi.y_offset - expected.roi.height


@pytest.mark.parametrize("detect_every", [1, 5])
def test_two_cameras(both: Path, tmp_path: Path, detect_every: int) -> None:
    """Each is answered as it would be alone."""
    error = refusal(esr(tmp_path, "annotate", both))
    assert error == (
        f"esr annotate: {both}: has several image topics; give --topic /left/image_raw/compressed, "
        "--topic /right/image_raw/compressed"
    )
    own = ["--detect-every", detect_every, "--json", "--topic", SIDES[0]]
    summary = report(esr(tmp_path, "annotate", both, "-o", "out", *own, "--topic", SIDES[1]))
    assert summary["answered"] == 84
    content = bags.content(tmp_path / "out")
    assert content["/left/emotion"] == content["/right/emotion"]
    one = report(esr(tmp_path, "annotate", both, "-o", "one", *own))
    assert one["answered"] == 42
    assert bags.content(tmp_path / "one")["/emotion"] == content["/left/emotion"]


def test_a_bag_is_answered_as_if_there_were_no_other(tmp_path: Path) -> None:
    """No face is tracked from the end of a bag into the next one."""
    for name in ("first", "second"):
        bags.recorded(tmp_path / name, Scene(((1.2, 1),), rate_hz=10.0))
    words = ("--detect-every", "10", "--json")
    report(esr(tmp_path, "annotate", "second", "-o", "alone", *words))
    done = esr(tmp_path, "annotate", "first", "second", "-o", "out", *words)
    assert done.returncode == 0, done.stderr
    assert bags.answers(tmp_path / "out" / "second_emotions") == bags.answers(tmp_path / "alone")


def test_many_small_messages_between_images(walk: Path, annotated: Path, tmp_path: Path) -> None:
    """They are not gathered up to the next image, however little they hold."""
    with BagReader(walk) as bag, BagWriter(tmp_path / "bag", "mcap") as writer:
        images, ticks = writer.offer(TOPIC, COMPRESSED), writer.offer("/tick", "std_msgs/msg/Empty")
        for image, (_, time_ns, data) in enumerate(bag.messages(bag.connections)):
            writer.put(images, time_ns, data)
            for tick in range(25_000 * (image == 9)):
                writer.put(ticks, time_ns + tick, b"\0\1\0\0\0")
    pipeline = EmotionPipeline()
    executor = Stopping(pipeline)
    annotate(
        tmp_path / "bag", tmp_path / "out", AnnotationJob(pipeline.options), pipeline, executor
    )
    assert [len(images) for images in executor.given] == [8, 2, 0, 8, 8, 8, 8]
    made, given = (bags.content(tmp_path / name) for name in ("out", "bag"))
    assert (made[TOPIC], made["/tick"]) == (given[TOPIC], given["/tick"])
    assert made["/emotion"] == bags.answers(annotated)["/emotion"]


def test_parameters_of_a_file(walk: Path, annotated: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters:\n    max_faces: 1\n    reliability: reliable\n")
    words = ("annotate", walk, "--json", "--params-file", file)
    done = esr(tmp_path, *words, "-o", "one")
    assert report(done)["limits"] == ["10 faces left out in 10 images; max_faces is 1"]
    assert done.stderr.endswith(f"{walk}: 10 faces left out in 10 images; max_faces is 1\n")
    assert {len(each.emotions) for each in bags.emotions(tmp_path / "one")} == {0, 1}
    report(esr(tmp_path, *words, "-o", "two", "--max-faces", "16"))
    assert bags.answers(tmp_path / "two") == bags.answers(annotated)
    for nodes in ("/**", "/*"):
        file.write_text(f"{nodes}: {{ros__parameters: {{max_faces: 1, robot: r2, g: {{p: 1}}}}}}\n")
        shared = esr(tmp_path, *words, "--overwrite", "-o", "shared")
        assert bags.answers(tmp_path / "shared") == bags.answers(tmp_path / "one")
        assert "mine.yaml: ignored, as they are for all nodes: g, robot\n" in shared.stderr
    file.write_text("/**/emotion_node:\n  ros__parameters:\n    max_facse: 1\n    1: 2\n")
    assert "unknown: 1, max_facse (nearest: max_faces" in refusal(
        esr(tmp_path, *words, "-o", "three")
    )
    file.write_text("hello")
    assert "has nothing for emotion_node" in refusal(esr(tmp_path, *words, "-o", "three"))


def test_bad_words(walk: Path, tmp_path: Path) -> None:
    for words, error in {
        ("nowhere",): "nowhere: there is no such bag",
        (walk, "--emotion-topic", "two words"): "'two words' is no name of a topic",
        (walk, "--emotion-topic", "/a//b"): "'/a//b' is no name of a topic",
        (walk, "--topic", "/other"): "no images on /other, only on /image_raw/compressed",
        (walk, "--jobs", "0"): "--jobs must be from 1 to 1024, but got 0",
        (walk, "--jobs", "2", "--engine", "ray"): "--jobs is for this machine",
        (walk, "--jobs", "2", "--detect-every", "3"): "before: leave out --jobs, or give several",
        (walk, walk): "another bag has the same output, ",
        (walk, "-o", walk): "--output would overwrite",
        (walk, "--model", "none.onnx"): "none.onnx: no such model file",
        (walk, "-o", "/proc/nowhere/out"): "/proc/nowhere",
    }.items():
        assert error in refusal(esr(tmp_path, "annotate", *words)), words
    assert not list(tmp_path.iterdir())
