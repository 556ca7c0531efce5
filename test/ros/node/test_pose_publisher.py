"""Poses of rendered faces, as subscribers receive them, and the CameraInfo that they need."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import Pose, PoseArray
from rendered_faces import CAMERAS, place, render
from sensor_msgs.msg import CameraInfo
from tf2_msgs.msg import TFMessage

from esr_core.errors import IntrinsicsError
from esr_ros.node.pose_publisher import camera_info_topic, intrinsics_of

CAMERA = CAMERAS["640x480"]
PLACES = [place(0.9, 10, 4), place(1.3, -12, 0)]


def calibration(focal_px: float) -> CameraInfo:
    k = [focal_px, 0.0, 320.0, 0.0, focal_px, 240.0, 0.0, 0.0, 1.0]
    return CameraInfo(width=640, height=480, k=k, distortion_model="plumb_bob", d=[0.0] * 5)


def position(pose: Pose) -> np.ndarray[Any, Any]:
    return np.array([pose.position.x, pose.position.y, pose.position.z])


def test_each_camera_has_poses_by_its_own_calibration(
    start: Any, robot: Any, to_image: Any
) -> None:
    topics = 'image_topics:=["left/image_raw", "right/image_raw"]'
    node = start("-p", topics, "-p", "reliability:=reliable", "-p", "poses:=true")
    left = robot(image_topic="left/image_raw", emotion_topic="left/emotion")
    right = robot(image_topic="right/image_raw", emotion_topic="right/emotion")
    ours, theirs = (
        left.hear(PoseArray, "left/emotion/poses"),
        right.hear(PoseArray, "right/emotion/poses"),
    )
    frames = left.hear(TFMessage, "/tf")
    infos = left.node.create_publisher(CameraInfo, "left/camera_info", 10)
    rgb = render(CAMERA, PLACES)
    image, empty = to_image(rgb), to_image(np.full_like(rgb, 90))

    left.meet(image)
    right.meet(image)
    assert not ours
    left.show_until(lambda: infos.publish(calibration(550.0)) or bool(ours and frames), image)
    answer = left.ask(image)
    assert left.spin_until(lambda: ours[-1].header == answer.header)
    assert left.spin_until(lambda: frames[-1].transforms[0].header == answer.header)
    assert len(ours[-1].poses) == len(answer.emotions) == 2
    for face, pose, frame, true in zip(
        answer.emotions, ours[-1].poses, frames[-1].transforms, PLACES
    ):
        found = position(pose)
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(true.position), rel=0.15)
        cosine = found @ true.position / np.linalg.norm(found) / np.linalg.norm(true.position)
        assert np.degrees(np.arccos(cosine)) < 2
        assert frame.child_frame_id == f"face_f{face.face_id:04d}"
        assert (frame.transform.translation.x, frame.transform.translation.z) == (
            pose.position.x,
            pose.position.z,
        )
        assert frame.transform.rotation == pose.orientation
    nobody = left.ask(empty)
    assert left.spin_until(lambda: ours[-1].header == nobody.header)
    assert ours[-1].poses == []

    # The other camera has no calibration, then an empty one, then one of half the focal length.
    def warns(text: str) -> bool:
        right.ask(image)
        return text in node.said

    missing = "/right/image_raw: no poses: nothing is published on /right/camera_info"
    node.wait_until(lambda: warns(missing), "the warning")
    infos = right.node.create_publisher(CameraInfo, "right/camera_info", 10)
    bad = "no poses by /right/camera_info: the camera is not calibrated"
    node.wait_until(lambda: infos.publish(CameraInfo()) or warns(bad), "the second warning")
    assert not theirs
    right.show_until(lambda: infos.publish(calibration(275.0)) or bool(theirs), image)
    assert left.ask(image)
    assert left.spin_until(lambda: len(ours[-1].poses) == 2)
    ratio = position(theirs[-1].poses[0])[2] / position(ours[-1].poses[0])[2]
    assert ratio == pytest.approx(0.5, rel=0.05)
    names = {each.child_frame_id[:6] for message in frames for each in message.transforms}
    assert names == {"face_f", "face_g"}
    # One that has no directions for these faces.
    wide = calibration(275.0)
    wide.d[0] = -0.9
    right.show_until(
        lambda: infos.publish(wide) or bool(np.isnan(position(theirs[-1].poses[0])).any()), image
    )
    found = [each.transform.translation.z for message in frames for each in message.transforms]
    assert np.isfinite(found).all()
    assert right.ask(to_image(np.ascontiguousarray(rgb[::2])))  # of another aspect ratio
    shape = "no poses by /right/camera_info: it is for 640x480 pixels, the images have 640x240"
    right.send(to_image(np.ascontiguousarray(rgb[::2])))
    node.wait_until(lambda: right.ask(to_image(rgb[::2])) and shape in node.said, "the third")
    assert node.stop() == 0
    assert "Traceback" not in node.said


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("/camera/image_raw", ("/camera/camera_info", False)),
        ("/camera/color/image_raw/compressed", ("/camera/color/camera_info", False)),
        ("/camera/image_rect_color/compressed", ("/camera/camera_info", True)),
        ("/image_rect", ("/camera_info", True)),
    ],
)
def test_topic_of_the_calibration(image: str, expected: tuple[str, bool]) -> None:
    assert camera_info_topic(image) == expected


def test_part_of_the_sensor_and_binning() -> None:
    info = calibration(500.0)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 400, 300
    info.binning_x, info.binning_y = 2, 0
    camera = intrinsics_of(info, False)
    assert camera.size_px == (200, 300)
    np.testing.assert_allclose(camera.matrix, [[250, 0, 110], [0, 500, 200], [0, 0, 1]])


def test_rectified_images_have_the_projection_matrix() -> None:
    info = calibration(500.0)
    info.d = [0.3, 0.1, 0.0, 0.0, 0.0]
    with pytest.raises(IntrinsicsError, match="not calibrated"):
        intrinsics_of(info, True)
    info.p = [450.0, 0, 300, -20, 0, 460, 250, 0, 0, 0, 1, 0]
    camera = intrinsics_of(info, True)
    assert not camera.distortion.any()
    np.testing.assert_allclose(camera.matrix, [[450, 0, 300], [0, 460, 250], [0, 0, 1]])
