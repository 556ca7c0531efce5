"""Poses of the faces in front of one camera: a PoseArray, and TF frames as REP-155 names them."""

from __future__ import annotations

import posixpath
import time
from typing import List, Optional, Tuple, Union

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseArray, Quaternion, TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from esr_core.errors import IntrinsicsError, OptionError
from esr_core.perception.detection import refined_landmarks
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.perception.face_pose import FacePose, Intrinsics, face_pose, intrinsics
from esr_core.perception.stream_clock import SILENCE_S
from esr_core.pipeline import EmotionPipeline
from esr_ros.conversions.emotion_topics import beside, without_transport
from esr_ros.conversions.messages import optional
from esr_ros.node.publishers import create_publisher
from esr_ros.node.ros4hri_publisher import name
from esr_ros.runtime.rclpy_features import publish

tf2 = optional("tf2_msgs")  # without it the parameter `poses` is refused
#: What CameraInfo has; None before the first, an error if that is no calibration.
Calibration = Union[Intrinsics, IntrinsicsError, None]
#: Largest difference between the aspect ratios of the images and of the CameraInfo.
MAX_ASPECT_RATIO = 1.02


class PosePublisher:
    """Publishes the poses of one camera's faces once its CameraInfo has arrived."""

    def __init__(self, node: Node, base: str, camera: int, image_topic: str) -> None:
        """base: topic of the emotions. camera: number of the camera."""
        if tf2 is None:
            raise OptionError(
                "poses is true, but tf2_msgs is not installed; install it, or set poses to false"
            )
        self._camera = camera
        topic, self._is_rectified = camera_info_topic(image_topic)
        self.topic = node.resolve_topic_name(topic)
        self.problem = ""  # why there are no poses
        self._calibration: Calibration = None
        self._waiting_since_s: Optional[float] = None
        self._poses = create_publisher(node, PoseArray, f"{base}/poses")
        self._frames = create_publisher(node, tf2.TFMessage, "/tf", 100)

    def on_camera_info(self, info: CameraInfo) -> None:
        """Take the calibration of the images that follow."""
        try:
            self._calibration = intrinsics_of(info, self._is_rectified)
        except IntrinsicsError as error:
            self._calibration = error

    def publish(
        self,
        header: Header,
        rgb: NDArray[np.uint8],
        faces: List[FaceEmotion],
        pipeline: EmotionPipeline,
    ) -> None:
        """Publish the poses of the faces of an image (h, w, 3) uint8, under its header."""
        camera = self._calibration  # read once: the executor replaces it
        self.problem = self._problem(camera, rgb.shape)
        if self.problem or not isinstance(camera, Intrinsics):
            return
        if not any(each.get_subscription_count() for each in (self._poses, self._frames)):
            return  # the second detection of each face takes milliseconds
        rotate, poses, frames = pipeline.options.rotate, [], []
        for face in faces:
            landmarks = refined_landmarks(pipeline.detector, rgb, face.box, rotate)
            if np.isnan(landmarks).any():
                landmarks = face.landmarks
            found = face_pose(camera, landmarks, face.box, rgb.shape, rotate)
            poses.append(_pose(found))
            # tf2 refuses other positions, and a frame without a parent.
            if np.isfinite(found.position).all() and header.frame_id:
                frames.append(_frame(header, f"face_{name(self._camera, face.face_id)}", poses[-1]))
        publish(self._poses, PoseArray(header=header, poses=poses))
        if frames:
            publish(self._frames, tf2.TFMessage(transforms=frames))

    def _problem(self, camera: Calibration, shape: Tuple[int, ...]) -> str:
        """Return why an image of a shape (h, w, ...) has no poses; empty if it has, or at first."""
        if camera is None:
            now_s = time.monotonic()
            self._waiting_since_s = self._waiting_since_s or now_s
            if now_s - self._waiting_since_s < SILENCE_S:
                return ""
            return f"no poses: nothing is published on {self.topic} (CameraInfo)"
        if isinstance(camera, IntrinsicsError):
            return f"no poses by {self.topic}: {camera}"
        (width, height), (h, w) = camera.size_px, shape[:2]
        if 1 / MAX_ASPECT_RATIO < width * h / (height * w) < MAX_ASPECT_RATIO:
            return ""
        sizes = f"it is for {width}x{height} pixels, the images have {w}x{h}"
        return f"no poses by {self.topic}: {sizes}"


def camera_info_topic(image_topic: str) -> Tuple[str, bool]:
    """Return the topic of the CameraInfo, as image_transport has it, and if images are rectified.

    Those of image_proc are, which are named ``image_rect`` and ``image_rect_color``.
    """
    base = posixpath.basename(without_transport(image_topic))
    return beside(image_topic, "camera_info"), base.startswith("image_rect")


def intrinsics_of(info: CameraInfo, is_rectified: bool) -> Intrinsics:
    """Return the calibration for the pixels of the images; IntrinsicsError if there is none.

    CameraInfo has it for all pixels of the sensor, of which ``roi`` and ``binning`` leave a part.
    """
    matrix = np.array(info.p).reshape(3, 4)[:, :3] if is_rectified else np.reshape(info.k, (3, 3))
    distortion = [] if is_rectified else info.d
    model = "" if is_rectified else info.distortion_model
    roi, binning = info.roi, np.maximum([info.binning_x, info.binning_y], 1)
    size = np.array([roi.width or info.width, roi.height or info.height]) // binning
    matrix = matrix.astype(float)
    matrix[:2, 2] -= roi.x_offset, roi.y_offset
    matrix[:2] /= binning[:, None]
    return intrinsics(model, matrix.ravel().tolist(), distortion, (int(size[0]), int(size[1])))


def _pose(found: FacePose) -> Pose:
    position = Point(**dict(zip("xyz", found.position.tolist())))
    orientation = Quaternion(**dict(zip("xyzw", found.quaternion.tolist())))
    return Pose(position=position, orientation=orientation)


def _frame(header: Header, child: str, pose: Pose) -> TransformStamped:
    frame = TransformStamped(header=header, child_frame_id=child)
    frame.transform.rotation = pose.orientation
    move, position = frame.transform.translation, pose.position
    move.x, move.y, move.z = position.x, position.y, position.z
    return frame
