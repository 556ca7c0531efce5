"""Publishers and services of a node besides the emotions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from foxglove_msgs.msg import ImageAnnotations, PointsAnnotation
from hri_msgs.msg import IdsList
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray, VisionInfo

from esr_core import LABELS
from esr_core.emotions import COLOURS_RGB
from esr_ros.msg import EmotionEvent

Photo = NDArray[np.uint8]
RELIABLE = ("-p", "reliability:=reliable")


def pixels(message: Image) -> Photo:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def test_detections_are_the_same_faces(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start(*RELIABLE)
    me = robot()
    received = me.hear(Detection2DArray, "emotion/detections")
    me.meet(to_image(photograph))
    answer = me.show_until(lambda: bool(received), to_image(photograph))
    assert me.spin_until(lambda: received and received[-1].header == answer.header)
    (face,), (detection,) = answer.emotions, received[-1].detections
    assert detection.header == answer.header
    assert detection.id == str(face.face_id)
    box = detection.bbox
    assert (box.size_x, box.size_y) == (face.roi.width, face.roi.height)
    assert box.center.position.x == face.roi.x_offset + face.roi.width / 2
    assert box.center.position.y == face.roi.y_offset + face.roi.height / 2
    scores = {result.hypothesis.class_id: result.hypothesis.score for result in detection.results}
    assert detection.results[0].hypothesis.class_id == face.label
    np.testing.assert_allclose([scores[label] for label in LABELS], face.probabilities, atol=1e-6)
    none = me.ask(to_image(np.full_like(photograph, 90)))
    assert me.spin_until(lambda: received[-1].header == none.header)
    assert received[-1].detections == []


def test_annotations_are_the_same_faces(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start(*RELIABLE)
    me = robot()
    received = me.hear(ImageAnnotations, "emotion/image_annotations")
    me.meet(to_image(photograph))
    answer = me.show_until(lambda: bool(received), to_image(photograph))
    stamp = answer.header.stamp
    assert me.spin_until(lambda: received and received[-1].timestamp == stamp)
    (face,), (box,), (text,) = answer.emotions, received[-1].points, received[-1].texts
    assert box.timestamp == text.timestamp == stamp
    left, top = face.roi.x_offset, face.roi.y_offset
    right, bottom = left + face.roi.width, top + face.roi.height
    assert box.type == PointsAnnotation.LINE_LOOP
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    assert [(each.x, each.y) for each in box.points] == corners
    assert box.fill_color.a == 0
    assert text.text == f"{face.face_id}: {face.label} {face.confidence:.0%}"
    assert (text.position.x, text.position.y) == (left, top)
    for colour in (box.outline_color, text.background_color):
        rgb = [round(255 * each) for each in (colour.r, colour.g, colour.b)]
        assert (tuple(rgb), colour.a) == (COLOURS_RGB[face.emotion], 1)
    none = me.ask(to_image(np.full_like(photograph, 90)))
    assert me.spin_until(lambda: received[-1].timestamp == none.header.stamp)
    assert (received[-1].points, received[-1].texts) == ([], [])


@pytest.mark.parametrize(
    ("package", "topic"),
    [("vision_msgs", "emotion/detections"), ("foxglove_msgs", "emotion/image_annotations")],
)
def test_node_without_the_package_of_a_topic(
    met: Any, photograph: Photo, to_image: Any, tmp_path: Path, package: str, topic: str
) -> None:
    """A module of this name that cannot be imported stands for a package that is not installed."""
    lacking = f"raise ModuleNotFoundError('no {package}')"
    (tmp_path / f"{package}.py").write_text(lacking, encoding="ascii")
    paths = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    node, me = met(environment={"PYTHONPATH": paths})
    assert len(me.ask(to_image(photograph)).emotions) == 1
    assert f"{package} is not installed: no {topic}" in node.said
    assert me.node.count_publishers(topic) == 0
    assert me.node.count_publishers("emotion/events") == 1


def test_late_subscriber_receives_the_name_of_the_network(met: Any) -> None:
    _, me = met()
    received = me.hear(VisionInfo, "emotion/vision_info", latched=True)
    assert me.spin_until(lambda: len(received) == 1)
    assert received[0].method.startswith("ESR-")
    assert received[0].database_location == "package://esr_ros/msg/Emotion.msg"


@pytest.mark.parametrize("form", ["raw", "compressed"])
def test_annotated_image(met: Any, photograph: Photo, to_image: Any, form: str) -> None:
    _, me = met("-p", f"annotated_image:={form}")
    kind, topic = (Image, "") if form == "raw" else (CompressedImage, "/compressed")
    received = me.hear(kind, f"emotion/image{topic}")
    answer = me.show_until(lambda: bool(received), to_image(photograph))
    assert me.spin_until(lambda: received[-1].header == answer.header)
    message = received[-1]
    if form == "raw":
        assert message.encoding == "rgb8"
        picture = pixels(message)
    else:
        bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        picture = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    assert picture.shape == photograph.shape
    changed = (np.abs(picture.astype(int) - photograph).max(axis=2) > 60).mean()
    assert 0.005 < changed < 0.4
    roi = answer.emotions[0].roi
    # The photograph itself is all there is inside of the box.
    top, left = roi.y_offset, roi.x_offset
    inside = np.s_[top + 20 : top + roi.height - 20, left + 20 : left + roi.width - 20]
    np.testing.assert_allclose(
        picture[inside].mean(), photograph[inside].mean(), atol=2 if form == "compressed" else 0
    )


def test_events(start: Any, robot: Any, photograph: Photo, to_image: Any) -> None:
    start(*RELIABLE, "-p", "track_timeout_s:=0.15")
    me = robot()
    empty = to_image(np.full_like(photograph, 90))
    received = me.hear(EmotionEvent, "emotion/events")
    me.meet(empty)
    # Until the topic's two ends have met, events are lost.
    assert me.spin_until(lambda: me.node.count_publishers("emotion/events") == 1)
    shown = me.ask(to_image(photograph))
    me.ask(empty)
    gone = me.ask(empty)
    assert me.spin_until(lambda: len(received) == 2)
    first, second = received
    (face,) = shown.emotions
    assert (first.type, first.face_id) == (EmotionEvent.APPEARED, face.face_id)
    assert (first.label, first.previous_label) == ("happy", "happy")
    assert first.header == shown.header
    assert first.confidence == pytest.approx(face.confidence)
    assert first.valence == pytest.approx(face.valence)
    assert (second.type, second.face_id) == (EmotionEvent.DISAPPEARED, face.face_id)
    assert second.label == "happy"
    assert second.header == gone.header


def test_enable_stops_answers_and_goes_on(met: Any, photograph: Photo, to_image: Any) -> None:
    node, me = met()
    off = me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=False))
    assert (off.success, off.message) == (True, "images are ignored")
    number = me.send(to_image(photograph))
    assert me.spin_until(lambda: me.diagnostics.get("message") == "disabled: images are ignored"), (
        node.said
    )
    assert number not in me.answers
    on = me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=True))
    assert (on.success, on.message) == (True, "processing images")
    me.answers.clear()
    me.meet(to_image(photograph))
    again = me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=True))
    assert again.success
    assert len(me.ask(to_image(photograph)).emotions) == 1


def test_enable_reports_that_the_node_is_not_active(start: Any, robot: Any) -> None:
    node = start("-p", "autostart:=false")
    me = robot()
    assert me.change_state(Transition.TRANSITION_CONFIGURE), node.said
    response = me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=True))
    assert not response.success
    assert response.message == "the node is not active; activate it first"


def test_reset_removes_the_faces(met: Any, photograph: Photo, to_image: Any) -> None:
    _, me = met()
    before = me.ask(to_image(photograph)).emotions[0].face_id
    assert me.ask(to_image(photograph)).emotions[0].face_id == before
    assert me.call(Trigger, "/emotion_node/reset", Trigger.Request()).success
    assert me.ask(to_image(photograph)).emotions[0].face_id > before


def test_picture_too_large_for_jpeg_is_not_published(
    met: Any, photograph: Photo, to_image: Any
) -> None:
    node, me = met("-p", "annotated_image:=compressed")
    received = me.hear(CompressedImage, "emotion/image/compressed")
    me.show_until(lambda: bool(received), to_image(photograph))
    assert me.ask(to_image(np.zeros((3, 70000, 3), np.uint8))).emotions == []
    node.wait_until(lambda: "no JPEG holds a picture of 70000x3" in node.said, "the warning")
    assert len(me.ask(to_image(photograph)).emotions) == 1


def test_images_that_were_ignored_are_not_missed(
    met: Any, photograph: Photo, to_image: Any
) -> None:
    node, me = met()
    small = to_image(np.ascontiguousarray(photograph[::8, ::8]))
    assert me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=False)).success
    for _ in range(50):
        me.send(small)
    assert me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=True)).success
    me.answers.clear()
    me.meet(small)
    me.ask(small)
    me.diagnostics.clear()
    assert me.spin_until(lambda: "missed" in me.diagnostics)
    assert me.diagnostics["missed"] == "0", node.said


def test_faces_are_gone_when_images_are_ignored(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start(*RELIABLE, "-p", "humans:=true")
    me = robot()
    events = me.hear(EmotionEvent, "emotion/events")
    tracked = me.hear(IdsList, "/humans/faces/tracked")
    me.meet(to_image(photograph))
    me.show_until(lambda: bool(tracked and tracked[-1].ids), to_image(photograph))
    assert me.call(SetBool, "/emotion_node/enable", SetBool.Request(data=False)).success
    assert me.spin_until(lambda: tracked[-1].ids == [])
    assert me.spin_until(lambda: events[-1].type == EmotionEvent.DISAPPEARED)


def test_diagnostics_go_on_while_the_clock_stands_still(start: Any, robot: Any) -> None:
    start("-p", "use_sim_time:=true")
    me = robot()
    assert me.spin_until(lambda: me.diagnostics.get("message") == "no images yet")
