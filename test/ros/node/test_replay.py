"""The promise of ``esr annotate``: its answers are the node's, when the bag is played to it."""

from __future__ import annotations

import array
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_golden import GOLDEN, KINDS, PLAY, Published, answered, summary, walk
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, View
from esr_ros.bags.reader import BagReader
from esr_ros.conversions.image_decoding import decode
from esr_ros.conversions.messages import detection_array, emotion_array, emotion_event
from esr_ros.demo.photo_bag import BEGIN_S, record
from esr_ros.demo.scene import Scene
from esr_ros.msg import EmotionEvent

#: Plays a bag to a node, with more arguments of the player, and returns what the node published.
Replay = Callable[..., Published]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bag = tmp_path_factory.mktemp("replay") / "walk"
    walk(bag)
    return bag


@pytest.fixture(scope="module")
def annotated(recording: Path) -> Published:
    return answered(recording, recording.with_name("answers"))


@pytest.fixture
def replay(start: Any, robot: Any, to_image: Any, to_compressed: Any) -> Replay:
    def play(bag: Path, *arguments: str, compressed: bool = True) -> Published:
        topic = "image_raw/compressed" if compressed else "image_raw"
        # Of the publishers too: on a busy machine the listener may be late.
        deep = [f"/{topic}.subscription", *(f"{each}.publisher" for each in KINDS)]
        overrides = [f"qos_overrides.{each}.depth:=1000" for each in deep]
        start(
            *("-p", "use_sim_time:=true", "-p", "reliability:=reliable"),
            *("-p", f"image_topics:=[{topic}]"),
            *(word for each in overrides for word in ("-p", each)),
        )
        me = robot(image_topic=topic, message_type=CompressedImage if compressed else Image)
        heard = {name: me.hear(kind, name) for name, kind in KINDS.items()}
        # They have met when an empty room was answered; no face, no id.
        empty = np.full((240, 320, 3), 110, np.uint8)
        me.meet(to_compressed(empty, ".png") if compressed else to_image(empty))
        assert me.spin_until(lambda: bool(heard["/emotion/detections"]))
        player = subprocess.Popen(["bag_player", str(bag), "--clock", *arguments])
        try:
            assert me.spin_until(lambda: player.poll() is not None)
        finally:
            player.kill()
        assert player.wait() == 0
        me.spin_until(lambda: False, 0.5)  # nothing may come that is too much
        return {
            name: [each for each in messages if each.header.stamp.sec >= BEGIN_S]
            for name, messages in heard.items()
        }

    return play


def plain(message: Any) -> Any:
    """A message as Python's own types, every bit of it.

    Messages do not compare themselves: in some releases arrays are equal that differ in places.
    """
    if hasattr(message, "get_fields_and_field_types"):
        names = message.get_fields_and_field_types()
        return {name: plain(getattr(message, name)) for name in names}
    if isinstance(message, (np.ndarray, array.array)):
        return message.tolist()
    if isinstance(message, (list, tuple)):
        return [plain(each) for each in message]
    return message


def assert_same(published: Published, expected: Published) -> None:
    for topic, messages in expected.items():
        assert [plain(each) for each in published[topic]] == [plain(each) for each in messages], (
            topic
        )


@pytest.mark.parametrize("rate", ["1", "2"])
def test_node_publishes_what_annotate_wrote(
    replay: Replay, recording: Path, annotated: Published, rate: str
) -> None:
    published = replay(recording, "--rate", rate)
    assert len(published["/emotion"]) == PLAY.frames
    assert {len(each.emotions) for each in published["/emotion"]} == {0, 1, 2}
    assert_same(published, annotated)


def test_four_times_the_recorded_rate(replay: Replay, tmp_path: Path) -> None:
    """With so few images a second that no machine drops one."""
    record(tmp_path / "slow", Scene(((2.0, 0), (4.0, 1), (2.0, 2)), 2.5, 320, 240), compressed=True)
    expected = answered(tmp_path / "slow", tmp_path / "answers")
    assert {len(each.emotions) for each in expected["/emotion"]} == {0, 1, 2}
    assert_same(replay(tmp_path / "slow", "--rate", "4"), expected)


def test_bag_without_faces(replay: Replay, tmp_path: Path) -> None:
    record(tmp_path / "room", Scene(((0.5, 0),), 10.0, 320, 240), compressed=True)
    expected = answered(tmp_path / "room", tmp_path / "answers")
    assert [len(each) for each in expected.values()] == [5, 0, 5]
    assert_same(replay(tmp_path / "room"), expected)


def test_raw_images_of_a_db3(replay: Replay, tmp_path: Path) -> None:
    play = Scene(((0.2, 0), (0.6, 2)), 10.0, 320, 240)
    record(tmp_path / "raw", play, storage="sqlite3")
    assert list((tmp_path / "raw").glob("*.db3"))
    expected = answered(tmp_path / "raw", tmp_path / "answers")
    assert {len(each.emotions) for each in expected["/emotion"]} == {0, 2}
    assert_same(replay(tmp_path / "raw", "--rate", "2", compressed=False), expected)


def test_second_round_has_new_ids_for_the_faces_of_the_first(
    replay: Replay, recording: Path, annotated: Published
) -> None:
    published = replay(recording, "--loop", "2")
    assert_same(published, _twice(recording))
    first, second = published["/emotion"][: PLAY.frames], published["/emotion"][PLAY.frames :]
    assert [plain(each) for each in first] == [plain(each) for each in annotated["/emotion"]]
    ids = [{face.face_id for each in part for face in each.emotions} for part in (first, second)]
    assert min(ids[1]) == max(ids[0]) + 1
    # Who was in view to the end is gone in the first image of the next round.
    last = {face.face_id for face in first[-1].emotions}
    begun = published["/emotion/events"][len(annotated["/emotion/events"]) :]
    gone = [each for each in begun if each.header.stamp == first[0].header.stamp]
    assert last
    assert {each.face_id for each in gone} == last
    assert {each.type for each in gone} == {EmotionEvent.DISAPPEARED}


def _twice(bag: Path) -> Published:
    """What the pipeline says of a bag's images, and of the same ones again."""
    pipeline, stream = EmotionPipeline(), StreamState()
    published: Published = {topic: [] for topic in KINDS}
    with BagReader(bag) as images:
        recorded = [data for _, _, data in images.messages(images.connections)]
    for data in [*recorded, *recorded]:
        message = deserialize_message(data, CompressedImage)
        rgb, header = decode(message), message.header
        stamp_s = header.stamp.sec + header.stamp.nanosec * 1e-9
        (answer,) = pipeline.answer([View(stream, rgb, stamp_s)])
        published["/emotion"].append(emotion_array(header, answer.faces, rgb.shape))
        published["/emotion/events"] += [emotion_event(header, each) for each in answer.events]
        published["/emotion/detections"].append(detection_array(header, answer.faces, rgb.shape))
    # Sent or written, a number has 32 bits.
    return {
        topic: [deserialize_message(serialize_message(each), KINDS[topic]) for each in messages]
        for topic, messages in published.items()
    }


def test_answers_are_those_that_were_kept(annotated: Published) -> None:
    kept, now = json.loads(GOLDEN.read_text(encoding="utf-8")), summary(annotated)
    assert now["events"] == kept["events"]
    assert [when for when, _ in now["images"]] == [when for when, _ in kept["images"]]
    for (_, faces), (_, kept_faces) in zip(now["images"], kept["images"]):
        assert [face[:2] for face in faces] == [face[:2] for face in kept_faces]
        for (*_, place, likely), (*_, kept_place, kept_likely) in zip(faces, kept_faces):
            # Other processors sum in another order, and libraries round otherwise: a box moves by
            # a pixel, and with it what is seen in it.
            assert place == pytest.approx(kept_place, abs=2)
            assert likely == pytest.approx(kept_likely, abs=0.03)
