"""The demo's camera: publishes a photograph that moves, as a camera driver would.

The photograph is scikit-image's ``astronaut`` (Eileen Collins, NASA, public domain). Until a line
comes on stdin it shows an empty room, so that everybody can find each other first; then it
plays the scenes once and writes what it sent to stdout: one JSON list of [stamp_ns, faces].
"""

from __future__ import annotations

import array
import json
import math
import select
import sys
import time

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from skimage import data

WIDTH_PX, HEIGHT_PX, RATE_HZ = 640, 480, 30
#: Seconds, and how many faces are in view.
SCENES = ((3.5, 1), (3.0, 2), (1.5, 0), (2.0, 1))
FRAMES = round(sum(seconds for seconds, _ in SCENES) * RATE_HZ)
#: Where the face is in the photograph: centre and width, in pixels.
FACE_X, FACE_Y, FACE_PX = 222.0, 120.0, 89.0


class Scene:
    """Draws frame after frame; the same number always gives the same picture."""

    def __init__(self) -> None:
        photograph = data.astronaut()
        # The upper left part: head and shoulders, without the flag's hard edge.
        self.photograph = photograph[:330, 60:400]
        ramp = np.linspace(90, 130, HEIGHT_PX, dtype=np.float32)[:, None, None]
        self.room = np.broadcast_to(ramp, (HEIGHT_PX, WIDTH_PX, 3)).astype(np.uint8)

    def draw(self, frame: int) -> tuple[NDArray[np.uint8], int]:
        """Return a frame, RGB (480, 640, 3) uint8, and how many faces it shows."""
        t, faces = frame / RATE_HZ, faces_at(frame)
        rgb = self.room.copy()
        swing = math.sin(2 * math.pi * t / 4)
        if faces == 1:
            self._paste(rgb, 320 + 90 * swing, 210 + 20 * math.cos(t), 110 + 35 * swing, False)
        elif faces == 2:
            self._paste(rgb, 165 + 15 * swing, 200, 85 + 10 * swing, False)
            self._paste(rgb, 475 - 15 * swing, 230, 85 - 10 * swing, True)
        return rgb, faces

    def _paste(
        self, rgb: NDArray[np.uint8], x: float, y: float, face_px: float, mirrored: bool
    ) -> None:
        """Put the photograph so that its face has this centre and this width."""
        scale = face_px / FACE_PX
        from_x, from_y = FACE_X - 60, FACE_Y
        sign = -1.0 if mirrored else 1.0
        matrix = np.array(
            [[sign * scale, 0, x - sign * scale * from_x], [0, scale, y - scale * from_y]]
        )
        cv2.warpAffine(
            self.photograph,
            matrix,
            (WIDTH_PX, HEIGHT_PX),
            dst=rgb,
            borderMode=cv2.BORDER_TRANSPARENT,
        )


def faces_at(frame: int) -> int:
    """How many faces the scene of this frame has."""
    end_s = 0.0
    for seconds, faces in SCENES:
        end_s += seconds
        if frame < round(end_s * RATE_HZ):
            return faces
    return 0


def image(rgb: NDArray[np.uint8]) -> Image:
    """Return the message of one frame, without a stamp."""
    message = Image(
        height=HEIGHT_PX, width=WIDTH_PX, encoding="rgb8", step=WIDTH_PX * 3, is_bigendian=0
    )
    # As array.array: bytes would be checked one by one.
    message.data = array.array("B", rgb.tobytes())
    message.header.frame_id = "camera"
    return message


def main() -> None:
    """Publish on ``image_raw`` until the scenes are over."""
    rclpy.init()
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "image_raw", qos_profile_sensor_data)
    scene = Scene()
    # Drawn beforehand, since drawing would take the cores on which the node is to be measured.
    frames = [(image(rgb), faces) for rgb, faces in map(scene.draw, range(FRAMES))]
    empty = (image(scene.room), 0)
    sent: list[list[int]] = []
    playing, due_s = False, time.monotonic()
    while len(sent) < FRAMES:
        playing = playing or bool(select.select([sys.stdin], [], [], 0)[0])
        message, faces = frames[len(sent)] if playing else empty
        stamp = node.get_clock().now()
        message.header.stamp = stamp.to_msg()
        publisher.publish(message)
        if playing:
            sent.append([stamp.nanoseconds, faces])
        due_s += 1 / RATE_HZ
        time.sleep(max(due_s - time.monotonic(), 0))
    print(json.dumps(sent), flush=True)
    sys.stdin.read()  # stay, until the listener has heard all and closes the pipe
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
