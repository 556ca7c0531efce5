"""Faces that another detector has found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from esr_ros.node.external_detections import faces

Photo = NDArray[np.uint8]


def detection(x: float, y: float, width: float, height: float, *scores: float) -> Detection2D:
    made = Detection2D()
    made.bbox.center.position.x, made.bbox.center.position.y = float(x), float(y)
    made.bbox.size_x, made.bbox.size_y = float(width), float(height)
    for score in scores:
        made.results.append(ObjectHypothesisWithPose())
        made.results[-1].hypothesis.score = score
    return made


def test_boxes_and_scores_are_taken_over() -> None:
    found = faces(
        Detection2DArray(
            detections=[
                detection(100, 50, 40, 60, 0.2, 0.7),
                detection(10, 10, 4, 4),
                detection(10, 10, 0, 4, 0.9),
                detection(float("nan"), 10, 4, 4, 0.9),
                detection(10, float("inf"), 4, 4, 0.9),
                detection(10, 10, 4, 4, float("nan")),
            ]
        )
    )
    np.testing.assert_array_equal(found.boxes, [[80, 20, 120, 80], [8, 8, 12, 12]])
    np.testing.assert_allclose(found.scores, [0.7, 1.0])
    assert len(faces(Detection2DArray())) == 0


def test_faces_of_another_detector_are_judged_at_their_stamp(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start("-p", "reliability:=reliable", "-p", "detections_topic:=faces")
    me = robot()
    publisher = me.node.create_publisher(Detection2DArray, "faces", 10)
    here = Detection2DArray(detections=[detection(64 + 222, 119, 89, 112, 0.05)])
    message = to_image(photograph)

    while not me.answers:
        publisher.publish(me.stamped(here, me.send(message)))
        me.spin_until(lambda: bool(me.answers), 0.3)
    # The faces first, then their image; then the other way round.
    next_number = max(me.answers) + 100
    me._number = next_number - 1
    publisher.publish(me.stamped(here, next_number))
    me.spin_until(lambda: False, 0.2)
    answer = me.ask(message)
    (face,) = answer.emotions
    assert face.label == "happy"
    assert face.detection_score == pytest.approx(0.05), "min_score is for the node's own detector"
    assert (face.roi.x_offset, face.roi.width) == (round(286 - 44.5), pytest.approx(89, abs=1))
    number = me.send(message)
    assert not me.spin_until(lambda: number in me.answers, 0.5), "it has no external detections"
    publisher.publish(me.stamped(here, number))
    assert me.spin_until(lambda: number in me.answers)


def test_detections_that_overtake_each_other_do_not_end_tracks(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start("-p", "reliability:=reliable", "-p", "detections_topic:=faces")
    me = robot()
    publisher = me.node.create_publisher(Detection2DArray, "faces", 10)
    here = Detection2DArray(detections=[detection(64 + 222, 119, 89, 112, 0.9)])

    message = to_image(photograph)
    while not me.answers:
        publisher.publish(me.stamped(here, me.send(message)))
        me.spin_until(lambda: bool(me.answers), 0.3)
    me.spin_until(lambda: False, 0.3)
    numbers = []
    for _ in range(3):
        numbers.append(me.send(message))
        me.spin_until(lambda: False, 0.3)
    first, second, third = numbers
    for number in (first, third, second):
        publisher.publish(me.stamped(here, number))
        me.spin_until(lambda: False, 0.3)
    fourth = me.send(message)
    publisher.publish(me.stamped(here, fourth))
    assert me.spin_until(lambda: fourth in me.answers)
    ids = {me.answers[number].emotions[0].face_id for number in (first, second, third, fourth)}
    assert len(ids) == 1


def test_images_without_stamps_have_no_counterpart(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start("-p", "reliability:=reliable", "-p", "detections_topic:=faces")
    me = robot()
    message = to_image(np.ascontiguousarray(photograph[::8, ::8]))

    def is_reported() -> bool:
        me._images.publish(message)
        me.spin_until(lambda: False, 0.1)
        return int(me.diagnostics.get("unpaired", 0)) > 3

    assert me.spin_until(is_reported)
    assert me.answers == {}
    assert me.spin_until(lambda: "dropped" in me.diagnostics["message"])


def test_stamps_that_never_fit_are_reported(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start("-p", "reliability:=reliable", "-p", "detections_topic:=faces")
    me = robot()
    message = to_image(np.ascontiguousarray(photograph[::8, ::8]))

    def complains() -> bool:
        me.send(message)
        me.spin_until(lambda: False, 0.1)
        return "no detections on /faces have the stamps of the images on /image_raw" in node.said

    assert me.spin_until(complains), node.said
    assert me.answers == {}


def test_only_one_camera_can_have_another_detector(start: Any) -> None:
    node = start("-p", 'image_topics:=["a/x", "b/x"]', "-p", "detections_topic:=faces")
    assert node.exit_code() == 2
    assert "detections_topic is for one image topic" in node.said
