"""Turn a robot to the happiest face.

Subscribes to ``emotion`` and publishes an angular velocity on ``cmd_vel`` (geometry_msgs/Twist).
With ``emotion/poses`` (parameter ``poses`` of the node) it is proportional to the angle of that
face, otherwise to its distance from the middle of the image. Without a happy face, or without a
message for a second, it is 0.

    source env.sh && python examples/happiest_face.py --ros-args -p image_width_px:=1280
"""

from __future__ import annotations

import math
import signal
import time

import rclpy
from geometry_msgs.msg import PoseArray, Twist
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from esr_ros.msg import Emotion, EmotionArray

TIMEOUT_S = 1.0
TURN_S = 1.0  # time constant of a turn by the angle of a face


class HappiestFace(Node):
    """Publishes angular velocities; driving and obstacles are the task of other nodes."""

    def __init__(self) -> None:
        super().__init__("happiest_face")
        self._width_px = self.declare_parameter("image_width_px", 640).value
        self._fastest_rad_s = self.declare_parameter("fastest_rad_s", 0.8).value
        self._min_probability = self.declare_parameter("least_probability", 0.5).value
        self._received_s = time.monotonic()
        self._emotions, self._poses = EmotionArray(), None
        self._commands = self.create_publisher(Twist, "cmd_vel", 1)
        self.create_subscription(EmotionArray, "emotion", self._on_emotions, 1)
        self.create_subscription(PoseArray, "emotion/poses", self._on_poses, 1)
        self.create_timer(TIMEOUT_S / 10, self._stop_after_timeout)

    def _on_emotions(self, message: EmotionArray) -> None:
        self._emotions = message
        self._decide()

    def _on_poses(self, message: PoseArray) -> None:
        self._poses = message
        self._decide()

    def _decide(self) -> None:
        faces = self._emotions.emotions
        if self._poses and self._poses.header != self._emotions.header:
            return  # the other message of this image has not arrived yet
        self._received_s = time.monotonic()
        probabilities = [float(face.probabilities[Emotion.HAPPY]) for face in faces]
        if max(probabilities, default=0.0) < self._min_probability:
            self.turn(0.0)
            return
        row = probabilities.index(max(probabilities))
        position = self._poses.poses[row].position if self._poses else None
        if position and math.isfinite(position.x):  # NaN: the calibration has no direction for it
            # In the camera's optical frame x is to the right and z forward.
            speed_rad_s = math.atan2(-position.x, position.z) / TURN_S
        else:
            centre_px = faces[row].roi.x_offset + faces[row].roi.width / 2
            speed_rad_s = (1 - 2 * centre_px / self._width_px) * self._fastest_rad_s
        self.turn(max(-self._fastest_rad_s, min(self._fastest_rad_s, speed_rad_s)))

    def _stop_after_timeout(self) -> None:
        if time.monotonic() - self._received_s > TIMEOUT_S:
            self.turn(0.0)

    def turn(self, rad_s: float) -> None:
        """Publish an angular velocity; positive values turn to the left (REP 103)."""
        command = Twist()
        command.angular.z = rad_s
        self._commands.publish(command)
        self.get_logger().info(f"turning by {rad_s:+.2f} rad/s", throttle_duration_sec=1.0)


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    # With its own handlers ROS shuts down at Ctrl-C before the last command can be published.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    stops: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda stop, frame: stops.append(stop))
    node = HappiestFace()
    while not stops:
        rclpy.spin_once(node, timeout_sec=0.1)
    node.turn(0.0)
    rclpy.shutdown()


if __name__ == "__main__":
    main()
