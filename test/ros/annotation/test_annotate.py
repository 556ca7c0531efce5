"""Bags answered by the command, whole and in parts, by one worker and by several."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
import tracemalloc
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import bags
import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from builtin_interfaces.msg import Time
from commands import esr, refusal
from rosbags.rosbag2 import Reader
from ruamel.yaml import YAML
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, PipelineOptions, View
from esr_ros.annotation.annotate import AnnotationJob, AnnotationReport, annotate
from esr_ros.annotation.executors import AnalysisRecord, RecordedImage, analyze
from esr_ros.bags import cdr
from esr_ros.bags.cdr import COMPRESSED
from esr_ros.bags.reader import BagReader
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions import messages
from esr_ros.conversions.image_decoding import decode
from esr_ros.demo.scene import Scene, SceneRenderer

TOPIC = "/image_raw/compressed"
OWN = ("/emotion", "/emotion/detections", "/emotion/events", "/emotion/vision_info")
#: Long enough to be stopped in the middle.
LONG = Scene(((30.0, 1),), rate_hz=30.0)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bags.recorded(tmp_path_factory.mktemp("recorded") / "walk")


@pytest.fixture(scope="module")
def annotated(walk: Path) -> Path:
    done = esr(walk.parent, "annotate", walk)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{walk}_emotions: 42 of 42 images answered, 3 faces in 30;")
    return walk.parent / "walk_emotions"


@pytest.fixture(scope="module")
def long_walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bags.recorded(tmp_path_factory.mktemp("long") / "long", LONG)


def report(done: subprocess.CompletedProcess[str]) -> Dict[str, Any]:
    assert done.returncode == 0, done.stderr
    summary: Dict[str, Any] = json.loads(done.stdout)
    return summary


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
    events = [cdr.read(data, "esr_ros/msg/EmotionEvent") for _, data in summary["/emotion/events"]]
    assert [event.face_id for event in events if event.type == 0] == [1, 2, 3]


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
        assert reader.message_count == 42 + 42 + 42 + 1 + len(bags.content(annotated)[OWN[2]])


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
    summary = report(done)
    assert (summary["images"], summary["answered"], summary["undecodable"]) == (6, 2, 4)
    assert "encoding 'strange' is unknown" in summary["first_error"]
    assert "4 of 6 images cannot be decoded; the first: encoding 'strange'" in done.stderr
    # Without a stamp an image is of the time of its recording: it is one face in two images.
    faces = [
        [face.face_id for face in each.emotions]
        for each in bags.emotions(tmp_path / "mixed_emotions")
    ]
    assert faces == [[1], [1]]


#: Two cameras with the same images.
SIDES = ("/left/image_raw/compressed", "/right/image_raw/compressed")


@pytest.fixture(scope="module")
def both(walk: Path) -> Path:
    path = walk.parent / "both"
    with BagReader(walk) as bag, BagWriter(path, "mcap") as writer:
        made = [writer.offer(each, COMPRESSED) for each in SIDES]
        for _, time_ns, data in bag.messages(bag.connections):
            for topic in made:
                writer.put(topic, time_ns, data)
    return path


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


class Stopping:
    """An executor that is interrupted at a batch, and keeps its input."""

    workers = 1

    def __init__(self, pipeline: EmotionPipeline, batches: int = 10**6) -> None:
        self.given: List[Sequence[RecordedImage]] = []
        self._pipeline = EmotionPipeline(pipeline.options, pipeline.model)
        self._batches = batches

    def submit(self, images: Sequence[RecordedImage]) -> Callable[[], List[AnalysisRecord]]:
        if len(self.given) == self._batches:
            raise KeyboardInterrupt
        self.given.append(images)
        records = analyze(self._pipeline, images)
        return lambda: records


def test_going_on_with_two_cameras(both: Path, tmp_path: Path) -> None:
    """Only the images of each camera since its last detection are analyzed again."""
    with BagReader(both) as bag, BagWriter(tmp_path / "bag", "mcap") as writer:
        made = {each.topic: writer.offer(each.topic, COMPRESSED) for each in bag.connections}
        for number, (connection, time_ns, data) in enumerate(bag.messages(bag.connections)):
            for spoilt in range(1 + 40 * (number == 21)):
                writer.put(made[connection.topic], time_ns, b"" if spoilt else data)
    options = PipelineOptions(detect_every=4)
    pipeline = EmotionPipeline(options)
    job = AnnotationJob(options, SIDES, resume=True)

    def run(output: str, executor: Stopping) -> AnnotationReport:
        return annotate(tmp_path / "bag", tmp_path / output, job, pipeline, executor)

    run("whole", Stopping(pipeline))
    with pytest.raises(KeyboardInterrupt):
        run("out", Stopping(pipeline, 9))
    summary = run("out", executor := Stopping(pipeline))
    assert (summary.resumed, summary.images, summary.undecodable) == (7 * 8, 124, 40)
    again = executor.given[0]
    assert 2 <= len(again) <= 2 * 4
    assert all(image.data for image in again)
    assert bags.content(tmp_path / "out") == bags.content(tmp_path / "whole")


def test_images_of_an_earlier_run_are_not_kept(tmp_path: Path) -> None:
    """Also where none can be decoded."""
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        topic = writer.offer("/image_raw", "sensor_msgs/msg/Image")
        for number in range(14 * 8):
            writer.put(topic, 10**18 + number * 10**8, bytes(10**6))
    pipeline = EmotionPipeline()
    job = AnnotationJob(pipeline.options, originals=False, resume=True)

    def run(executor: Stopping) -> AnnotationReport:
        return annotate(tmp_path / "bag", tmp_path / "out", job, pipeline, executor)

    with pytest.raises(KeyboardInterrupt):
        run(Stopping(pipeline, 13))
    tracemalloc.start()
    assert run(Stopping(pipeline)).resumed == 11 * 8
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 50e6


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


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_what_can_be_read_of_a_damaged_bag_is_answered(tmp_path: Path, storage: str) -> None:
    whole = bags.recorded(tmp_path / "whole", Scene(((3.0, 1),), rate_hz=30.0), storage=storage)
    bags.damaged(whole, tmp_path / "cut", keep=0.5)
    esr(tmp_path, "annotate", "whole")
    done = esr(tmp_path, "annotate", "cut", "--json")
    summary = report(done)
    assert 15 < summary["answered"] < 60
    assert len(summary["damage"]) >= 1
    assert done.stderr.startswith("esr annotate: cut: damaged: whole.")
    cut, full = (
        bags.content(tmp_path / f"{name}_emotions")["/emotion"] for name in ("cut", "whole")
    )
    assert cut == full[: len(cut)]


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
        summary = report(esr(tmp_path, "annotate", bag, "-o", f"out_{count}", "--json"))
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


class Run:
    """A run that is stopped in the middle."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            ["esr", "annotate", *(str(word) for word in words)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_log(self, size: int = 60_000) -> None:
        log = self.folder / "out.part" / "journal"
        deadline_s = time.monotonic() + 180
        while not log.exists() or log.stat().st_size < size:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    def children(self) -> List[int]:
        """All processes below it."""
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                after_name = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(stat.parent.name)] = int(after_name[1])
        below = [self.process.pid]
        for each in below:
            below += [child for child, parent in parents.items() if parent == each]
        return below[1:]

    def summary(self) -> Dict[str, Any]:
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        summary: Dict[str, Any] = json.loads(out)
        return summary


@pytest.fixture(scope="module")
def long_answers(long_walk: Path) -> Any:
    report(esr(long_walk.parent, "annotate", long_walk, "-o", "whole", "--json"))
    return bags.answers(long_walk.parent / "whole")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("detect_every", [1, 5])
def test_a_run_that_was_stopped_goes_on(
    long_walk: Path, tmp_path: Path, long_answers: Any, signal_number: int, detect_every: int
) -> None:
    words = [long_walk, "-o", "out", "--detect-every", detect_every]
    run = Run(tmp_path, *words)
    run.wait_for_log()
    run.process.send_signal(signal_number)
    err = run.process.communicate(timeout=60)[1]
    assert run.process.returncode == (130 if signal_number == signal.SIGINT else -9)
    if signal_number == signal.SIGINT:
        assert (
            err.splitlines()[-1]
            == "esr annotate: stopped; the same command with --resume continues"
        )
        assert [each.name for each in (tmp_path / "out.part").iterdir()] == ["journal"]
    assert not (tmp_path / "out").exists()
    error = refusal(esr(tmp_path, "annotate", *words))
    assert "out.part is left of an earlier run; continue with --resume" in error
    error = refusal(esr(tmp_path, "annotate", *words, "--resume", "--min-score", 0.7))
    assert "was started with another min_score" in error
    done = report(esr(tmp_path, "annotate", *words, "--resume", "--json"))
    assert 100 < done["resumed"] < 900
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    if detect_every == 1:
        assert bags.answers(tmp_path / "out") == long_answers
    else:
        report(esr(tmp_path, "annotate", *words[:2], "at_once", *words[3:], "--json"))
        assert bags.answers(tmp_path / "out") == bags.answers(tmp_path / "at_once")


@pytest.mark.parametrize("executor", [["--jobs", "2"], ["--engine", "ray"]], ids=["jobs", "ray"])
def test_a_worker_that_dies_is_replaced(
    long_walk: Path, tmp_path: Path, long_answers: Any, executor: List[str]
) -> None:
    run = Run(tmp_path, long_walk, "-o", "out", "--json", *executor)
    run.wait_for_log()
    killed = 0
    for child in run.children():
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        # Python's own processes, or Ray's workers at this task; not the cluster's servants.
        is_worker = b"spawn_main" in command or b"ray::analyze_batch" in command
        if is_worker and killed == 0:
            os.kill(child, signal.SIGKILL)
            killed += 1
    assert killed == 1
    assert run.summary()["answered"] == 900
    assert bags.answers(tmp_path / "out") == long_answers


def test_only_one_run_at_a_time(long_walk: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, long_walk, "-o", "out")
    run.wait_for_log()
    error = refusal(esr(tmp_path, "annotate", long_walk, "-o", "out", "--resume"))
    assert "another run is writing this annotation" in error
    run.process.send_signal(signal.SIGTERM)
    run.process.communicate(timeout=180)
    assert run.process.returncode == 130


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk(long_walk: Path, tmp_path: Path, storage: str) -> None:
    """By a limit on the size of files, which fails in the same places."""
    done = subprocess.run(
        ["esr", "annotate", str(long_walk), "-o", "out", "--storage", storage],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20)),
    )
    error = refusal(done)
    assert "out" in error
    assert "--resume" in error
    assert [each.name for each in (tmp_path / "out.part").iterdir()] == ["journal"]
    words = ("annotate", long_walk, "-o", "out", "--storage", storage, "--resume", "--json")
    assert report(esr(tmp_path, *words))["resumed"] > 100


def test_an_output_that_exists(walk: Path, annotated: Path, tmp_path: Path) -> None:
    words = ("annotate", walk, "-o", "out")
    report(esr(tmp_path, *words, "--json"))
    assert "out exists; give --overwrite, or another --output" in refusal(esr(tmp_path, *words))
    assert report(esr(tmp_path, *words, "--json", "--resume"))["is_done_before"]
    error = refusal(esr(tmp_path, *words, "--resume", "--smoothing-s", "0"))
    assert "out was made with another smoothing_s; give --overwrite" in error
    summary = report(esr(tmp_path, *words, "--json", "--overwrite", "--smoothing-s", "0"))
    assert summary["answered"] == 42
    assert bags.answers(tmp_path / "out")["/emotion"] != bags.answers(annotated)["/emotion"]
    (tmp_path / "mine").mkdir()
    error = refusal(esr(tmp_path, "annotate", walk, "-o", "mine", "--resume"))
    assert "mine exists and is not of this command" in error
    error = refusal(esr(tmp_path, "annotate", "out", "-o", "again"))
    assert "out has /emotion already; give --emotion-topic another, or --without-originals" in error
    words = ("annotate", "out", "-o", "again", "--emotion-topic", "again", "--json")
    assert report(esr(tmp_path, *words))["answered"] == 42
    assert bags.content(tmp_path / "again")["/again"] == bags.answers(annotated)["/emotion"]


@pytest.mark.parametrize("flip", [0.1, 0.9])
def test_another_bag_of_the_same_name_and_size(walk: Path, tmp_path: Path, flip: float) -> None:
    """Done or half done, nothing of one bag is taken for another's."""
    pipeline = EmotionPipeline()
    job = AnnotationJob(pipeline.options, resume=True)
    annotate(walk, tmp_path / "done", job, pipeline, Stopping(pipeline))
    with pytest.raises(KeyboardInterrupt):
        annotate(walk, tmp_path / "half", job, pipeline, Stopping(pipeline, 5))
    other = bags.damaged(walk, tmp_path / "other", flip=flip)
    for output, error in {"done": "done was made", "half": "half.part: was started"}.items():
        words = ("annotate", other, "-o", output, "--resume")
        assert f"{error} with another bag;" in refusal(esr(tmp_path, *words))


def test_nothing_else_is_ever_removed(walk: Path, tmp_path: Path) -> None:
    """Wherever the output would be, and whatever lies there."""
    folder = tmp_path / "mine"
    folder.mkdir()
    bag = bags.damaged(walk, folder / "bag")
    (folder / "notes.txt").write_text("important")
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    file = bags.storage_file(bag)
    for words in (
        (bag, "-o", bag),
        (file, "-o", bag),
        (bag, "-o", folder),
        (bag, "-o", bag / "answers"),
        (bag, "-o", file),
        (bag, "-o", "."),
        (bag, "-o", ".."),
        (bag, "-o", "/"),
        (bag, "-o", bag / ".."),
        (bag, "-o", folder / "notes.txt"),
        (bag, "-o", folder / "notes.txt" / ".."),
    ):
        error = refusal(esr(folder, "annotate", *words, "--overwrite"))
        assert "output" in error or "exists and is not of this command" in error, words
    assert {e: e.read_bytes() for e in tmp_path.rglob("*") if e.is_file()} == before


def test_a_bag_where_one_stands(walk: Path, annotated: Path, tmp_path: Path) -> None:
    bag = bags.damaged(walk, tmp_path / "walk")
    report(esr(bag, "annotate", ".", "--json"))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["walk", "walk_emotions"]
    assert bags.answers(tmp_path / "walk_emotions") == bags.answers(annotated)


def test_parameters_of_a_file(walk: Path, annotated: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters:\n    max_faces: 1\n    reliability: reliable\n")
    words = ("annotate", walk, "--json", "--params-file", file)
    report(esr(tmp_path, *words, "-o", "one"))
    assert {len(each.emotions) for each in bags.emotions(tmp_path / "one")} == {0, 1}
    report(esr(tmp_path, *words, "-o", "two", "--max-faces", "16"))
    assert bags.answers(tmp_path / "two") == bags.answers(annotated)
    file.write_text("/**:\n  ros__parameters:\n    max_facse: 1\n    1: 2\n")
    assert "unknown: 1, max_facse" in refusal(esr(tmp_path, *words, "-o", "three"))
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


@pytest.mark.parametrize("flag", ["--model", "--detector-model", "--params-file"])
def test_the_folder_of_what_is_read_is_never_replaced(tmp_path: Path, flag: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("mine")
    line = refusal(esr(tmp_path, "annotate", "walk", "-o", "out", "--overwrite", flag, "out/file"))
    assert f"--output would overwrite {tmp_path / 'out'}, which is read" in line
    assert (tmp_path / "out" / "file").read_text() == "mine"
