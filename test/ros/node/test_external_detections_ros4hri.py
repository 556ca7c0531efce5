"""Faces that others track, as ROS4HRI has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hri_msgs.msg import IdsList, NormalizedRegionOfInterest2D
from numpy.typing import NDArray

from esr_ros.node.external_detections import boxes

Photo = NDArray[np.uint8]
TRACKED = "/humans/faces/tracked"
RELIABLE = ("-p", "reliability:=reliable")


def region(xmin: float, ymin: float, xmax: float, ymax: float, c: float) -> Any:
    return NormalizedRegionOfInterest2D(xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=c)


def test_faces_that_another_node_tracks_are_judged(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    # The other one is this node too; any publisher of REP-155 would do.
    start("-r", "__ns:=/other", "-r", "image_raw:=/image_raw", "-p", "humans:=true", *RELIABLE)
    node = start("-p", f"detections_topic:={TRACKED}", *RELIABLE)
    me, other = robot(), robot(emotion_topic="/other/emotion")

    def judged() -> bool:
        return any(answer.emotions for answer in me.answers.values())

    assert me.show_until(judged, to_image(photograph)), node.said
    number = me.send(to_image(photograph))
    for each in (me, other):
        assert each.spin_until(lambda each=each: number in each.answers)
    (face,), (theirs,) = me.answers[number].emotions, other.answers[number].emotions
    assert face.label == "happy"
    assert face.detection_score == pytest.approx(theirs.detection_score)
    for corner in ("x_offset", "y_offset", "width", "height"):
        assert getattr(face.roi, corner) == pytest.approx(getattr(theirs.roi, corner), abs=1)

    empty = to_image(np.full_like(photograph, 90))
    assert me.ask(empty).emotions == []


def test_names_that_are_none_and_regions_that_stay_away(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    node = start("-p", f"detections_topic:={TRACKED}", *RELIABLE)
    me = robot()
    ids = me.node.create_publisher(IdsList, TRACKED, 10)
    here = me.node.create_publisher(NormalizedRegionOfInterest2D, "/humans/faces/a1/roi", 10)
    place = region(242 / 640, 63 / 480, 331 / 640, 175 / 480, 0.9)

    def track(number: int) -> None:
        # ROS refuses longer topics; an id in the list twice is one face.
        stamp = IdsList(ids=["a1", "no topic", "", "7", "a/b", "silent", "a" * 300, "a1"])
        place.header = me.stamped(stamp, number).header
        here.publish(place)
        ids.publish(stamp)

    message = to_image(photograph)

    def judged() -> bool:
        track(me.send(message))
        me.spin_until(lambda: False, 0.2)
        return any(answer.emotions for answer in me.answers.values())

    assert me.spin_until(judged), node.said
    number = me.send(message)
    track(number)
    assert me.spin_until(lambda: number in me.answers)
    (face,) = me.answers[number].emotions
    assert (face.label, face.roi.x_offset) == ("happy", 242)
    assert node.process.poll() is None
    assert "Traceback" not in node.said


def test_own_faces_cannot_be_those_of_others(start: Any) -> None:
    node = start("-p", f"detections_topic:={TRACKED}", "-p", "humans:=true")
    assert node.exit_code() == 2
    assert "humans is true: this node would track them too" in node.said


def test_regions_that_are_none_are_left_out() -> None:
    nan = float("nan")
    table = boxes(
        [
            region(0.1, 0.2, 0.3, 0.4, 0.5),
            region(0.3, 0.2, 0.1, 0.4, 0.5),
            region(0.1, 0.2, nan, 0.4, 0.5),
            region(0.1, 0.2, 0.3, 0.4, nan),
        ]
    )
    np.testing.assert_allclose(table, [[0.1, 0.2, 0.3, 0.4, 0.5]])
    assert boxes([]).shape == (0, 5)
