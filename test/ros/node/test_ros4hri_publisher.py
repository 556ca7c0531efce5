"""ROS4HRI, as its subscribers receive it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import rclpy
from hri_msgs.msg import Expression, IdsList, NormalizedRegionOfInterest2D
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from esr_core import LABELS, EmotionPipeline
from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import View
from esr_ros.node.ros4hri_publisher import EXPRESSIONS, Ros4HriPublisher, name

Photo = NDArray[np.uint8]


def test_faces_are_published_while_they_are_tracked(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start("-p", "reliability:=reliable", "-p", "humans:=true", "-p", "track_timeout_s:=0.15")
    me = robot()
    tracked = me.hear(IdsList, "/humans/faces/tracked")
    me.meet(to_image(photograph))
    answer = me.ask(to_image(photograph))
    (face,) = answer.emotions
    human = name(0, face.face_id)
    assert me.spin_until(lambda: tracked and tracked[-1].header == answer.header)
    assert tracked[-1].ids == [human]
    below = f"/humans/faces/{human}/"
    rois = me.hear(NormalizedRegionOfInterest2D, below + "roi")
    expressions = me.hear(Expression, below + "expression")
    crops = me.hear(Image, below + "cropped")
    answer = me.show_until(lambda: bool(rois and expressions and crops), to_image(photograph))
    for received in (rois, expressions, crops):
        assert me.spin_until(lambda received=received: received[-1].header == answer.header)
    (face,) = answer.emotions
    expression = expressions[-1]
    assert expression.expression == Expression.HAPPY
    assert expression.confidence == pytest.approx(face.confidence)
    assert (expression.valence, expression.arousal) == pytest.approx((face.valence, face.arousal))
    roi = rois[-1]
    assert roi.xmin * 640 == pytest.approx(face.roi.x_offset, abs=1e-3)
    assert roi.ymax * 480 == pytest.approx(face.roi.y_offset + face.roi.height, abs=1e-3)
    assert roi.c == pytest.approx(face.detection_score)
    crop = crops[-1]
    assert (crop.width, crop.height, crop.encoding) == (128, 128, "rgb8")
    assert np.frombuffer(crop.data, np.uint8).reshape(128, 128, 3)[64].mean() > 40

    empty = to_image(np.full_like(photograph, 90))
    for _ in range(3):
        gone = me.ask(empty)
    assert me.spin_until(lambda: tracked[-1].header == gone.header)
    assert tracked[-1].ids == []
    assert me.spin_until(lambda: me.node.count_publishers(below + "roi") == 0), node.said
    assert me.node.count_publishers("/humans/faces/tracked") == 1


def test_camera_that_falls_silent_takes_only_its_own_faces_along(
    photograph: Photo, context: rclpy.Context
) -> None:
    node = rclpy.create_node("anybody", context=context)
    humans, pipeline = Ros4HriPublisher(node), EmotionPipeline()
    (answer,) = pipeline.answer([View(StreamState(), photograph, 0.0)])
    for camera in (0, 21):  # f0001 and fz0001
        humans.publish(camera, Header(), photograph, answer)

    def topics() -> set[str]:
        return {p.topic_name for p in node.publishers if "/faces/f" in p.topic_name}

    assert len(topics()) == 6
    humans.withdraw_all(0)
    assert topics() == {f"/humans/faces/fz0001/{what}" for what in ("roi", "expression", "cropped")}
    node.destroy_node()


def test_each_label_has_an_expression() -> None:
    constants = {
        value for key, value in vars(type(Expression))["_Metaclass_Expression__constants"].items()
    }
    assert set(EXPRESSIONS) == set(LABELS)
    assert set(EXPRESSIONS.values()) - constants == {"contempt"}


def test_faces_out_of_sight_are_withdrawn_too(photograph: Photo, context: rclpy.Context) -> None:
    node = rclpy.create_node("anybody", context=context)
    humans, pipeline, stream = Ros4HriPublisher(node), EmotionPipeline(), StreamState()
    for stamp_s, image in ((0.0, photograph), (0.1, np.full_like(photograph, 90))):
        (answer,) = pipeline.answer([View(stream, image, stamp_s)])
        humans.publish(0, Header(), image, answer)
    assert not answer.faces
    humans.withdraw_all(0)
    assert [each.topic_name for each in node.publishers if "/faces/f" in each.topic_name] == []
    node.destroy_node()


@pytest.mark.parametrize(("camera", "face", "expected"), [(0, 7, "f0007"), (1, 12345, "g12345")])
def test_names_are_parts_of_topics(camera: int, face: int, expected: str) -> None:
    assert name(camera, face) == expected
