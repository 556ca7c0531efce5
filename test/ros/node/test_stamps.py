"""Cameras whose stamps are late, stand still or are missing, and cameras that stop."""

from __future__ import annotations

import signal
from typing import Any, List, Sequence

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from esr_ros.msg import EmotionEvent

Photo = NDArray[np.uint8]
BEGIN_NS = 1_700_000_000 * 10**9
STEP_NS = 33_000_000


def show(me: Any, image: Image, stamps_ns: Sequence[int]) -> List[Any]:
    """Publish an image once per stamp, each after the answer to the one before; return these."""
    answers = me.hear_answers
    for i, stamp_ns in enumerate(stamps_ns):
        image.header.stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        image.header.frame_id = f"{len(answers)}, {i}"
        me._images.publish(image)
        assert me.spin_until(lambda: answers[-1:] and answers[-1].header == image.header)
        me.spin_until(lambda: False, STEP_NS * 1e-9)  # the camera's rhythm
    return list(answers[-len(stamps_ns) :])


@pytest.fixture
def watched(start: Any, robot: Any, photograph: Photo, to_image: Any) -> Any:
    """Start a node; return it with its camera and an image of a face."""

    def watch(*arguments: str) -> Any:
        from esr_ros.msg import EmotionArray

        node, me, image = (
            start("-p", "reliability:=reliable", *arguments),
            robot(),
            to_image(photograph),
        )
        me.events = me.hear(EmotionEvent, "emotion/events")
        me.levels = []
        me.node.create_subscription(
            DiagnosticArray, "/diagnostics", lambda m: me.levels.append(m.status[0]), 10
        )
        me.hear_answers = me.hear(EmotionArray, "emotion")
        me.meet(image)  # its stamps are of the year 1970: another recording
        me.spin_until(lambda: bool(me.events))
        me.events.clear()
        return node, me, image

    return watch


def ids(answers: Sequence[Any]) -> set[int]:
    return {face.face_id for answer in answers for face in answer.emotions}


def test_late_images_are_answered_and_the_face_keeps_its_id(watched: Any) -> None:
    _, me, image = watched()
    order = list(range(40))
    for i in range(9, 39, 10):
        order[i], order[i + 1] = order[i + 1], order[i]
    answers = show(me, image, [BEGIN_NS + i * STEP_NS - (i > 30) * 20_000_000 for i in order])
    assert [len(each.emotions) for each in answers] == [1] * 40
    assert len(ids(answers)) == 1
    assert [each.type for each in me.events] == []


@pytest.mark.parametrize("seconds", [-3600, -5, 5, 3600])
def test_one_wrong_stamp_ends_no_face(watched: Any, seconds: int) -> None:
    _, me, image = watched()
    stamps_ns = [BEGIN_NS + i * STEP_NS for i in range(40)]
    stamps_ns[20] += seconds * 10**9
    answers = show(me, image, stamps_ns)
    assert [len(each.emotions) for each in answers] == [1] * 40
    assert len(ids(answers)) == 1
    assert [each.type for each in me.events] == []


def test_a_recording_that_starts_over_has_other_faces(watched: Any) -> None:
    _, me, image = watched()
    first = show(me, image, [BEGIN_NS + i * STEP_NS for i in range(40)])
    second = show(me, image, [BEGIN_NS + i * STEP_NS for i in range(40)])
    assert len(ids(first)) == len(ids(second)) == 1
    assert ids(first) != ids(second)
    kinds = [each.type for each in me.events]
    assert kinds == [EmotionEvent.DISAPPEARED, EmotionEvent.APPEARED]


@pytest.mark.parametrize(
    ("stamps_ns", "text"),
    [
        ([BEGIN_NS] * 60, "the stamps of the images do not advance"),
        ([BEGIN_NS + i * 33_000 for i in range(60)], "the stamps of the images do not advance"),
        ([0 if i == 20 else BEGIN_NS + i * STEP_NS for i in range(60)], "images without a stamp"),
    ],
    ids=["stand", "microseconds", "one without"],
)
def test_wrong_stamps_are_told_and_arrival_counts(
    watched: Any, to_image: Any, stamps_ns: List[int], text: str
) -> None:
    patient = ("-p", "latency_warn_s:=10.0", "-p", "latency_error_s:=20.0")
    node, me, image = watched("-p", "smoothing_s:=0.5", *patient)
    answers = show(me, image, stamps_ns)
    assert len(ids(answers)) == 1
    before = answers[-1].emotions[0]
    pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3).copy()
    box = before.roi
    lower_half = slice(box.y_offset + box.height // 2, box.y_offset + box.height)
    pixels[lower_half, box.x_offset : box.x_offset + box.width] = 120
    after = show(me, to_image(pixels), stamps_ns[-1:] * 40)[-1].emotions[0]
    assert after.face_id == before.face_id
    assert np.abs(np.subtract(before.probabilities, after.probabilities)).max() > 0.03
    node.wait_until(lambda: f"{text}; tracks, smoothing and events use" in node.said, "a warning")
    assert me.spin_until(lambda: any(text in each.message for each in me.levels))
    assert b"\x01" in {each.level for each in me.levels if text in each.message}


def test_faces_of_a_silent_camera_disappear(watched: Any) -> None:
    _, me, image = watched()
    show(me, image, [BEGIN_NS + i * STEP_NS for i in range(5)])
    assert me.spin_until(lambda: bool(me.events))
    assert [each.type for each in me.events][-1] == EmotionEvent.DISAPPEARED
    again = show(me, image, [BEGIN_NS + 10**10 + i * STEP_NS for i in range(2)])
    assert me.spin_until(lambda: me.events[-1].type == EmotionEvent.APPEARED)
    assert ids(again) == {me.events[-1].face_id}


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_faces_of_a_node_that_is_stopped_disappear(watched: Any, stop: signal.Signals) -> None:
    node, me, image = watched()
    show(me, image, [BEGIN_NS + i * STEP_NS for i in range(5)])
    me.events.clear()
    node.process.send_signal(stop)
    assert me.spin_until(lambda: bool(me.events))
    assert [each.type for each in me.events] == [EmotionEvent.DISAPPEARED]
    assert node.exit_code() == 0
    assert "Traceback" not in node.said


def test_faces_disappear_when_images_can_no_longer_be_decoded(watched: Any) -> None:
    node, me, image = watched()
    show(me, image, [BEGIN_NS + i * STEP_NS for i in range(5)])
    me.events.clear()
    image.encoding = "32FC1"

    def has_gone() -> bool:
        me.send(image)
        me.spin_until(lambda: False, 0.1)
        return bool(me.events)

    assert me.spin_until(has_gone, 20), node.said
    assert [each.type for each in me.events] == [EmotionEvent.DISAPPEARED]
