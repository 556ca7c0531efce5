"""Turn a robot to the happiest face.

Subscribes to ``emotion`` and publishes an angular velocity on ``cmd_vel`` (geometry_msgs/Twist),
proportional to the distance of that face from the middle of the image. Without a happy face, or
without a message for a second, the velocity is 0.

    source env.sh && python examples/happiest_face.py --ros-args -p image_width_px:=1280
"""

from __future__ import annotations

import signal
import time

import rclpy
from geometry_msgs.msg import Twist
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from esr_ros.msg import Emotion, EmotionArray

TIMEOUT_S = 1.0


class HappiestFace(Node):
    """Publishes angular velocities; driving and obstacles are the task of other nodes."""

    def __init__(self) -> None:
        super().__init__("happiest_face")
        self._width_px = self.declare_parameter("image_width_px", 640).value
        self._fastest_rad_s = self.declare_parameter("fastest_rad_s", 0.8).value
        self._min_probability = self.declare_parameter("least_probability", 0.5).value
        self._received_s = time.monotonic()
        self._commands = self.create_publisher(Twist, "cmd_vel", 1)
        self.create_subscription(EmotionArray, "emotion", self._on_emotions, 1)
        self.create_timer(TIMEOUT_S / 10, self._stop_after_timeout)

    def _on_emotions(self, message: EmotionArray) -> None:
        self._received_s = time.monotonic()
        happy = [
            face
            for face in message.emotions
            if face.probabilities[Emotion.HAPPY] >= self._min_probability
        ]
        if not happy:
            self.turn(0.0)
            return
        happiest = max(happy, key=lambda face: float(face.probabilities[Emotion.HAPPY]))
        centre_px = happiest.roi.x_offset + happiest.roi.width / 2
        # 1 at the left border, -1 at the right one.
        offset = max(-1.0, min(1.0, 1 - 2 * centre_px / self._width_px))
        self.turn(offset * self._fastest_rad_s)

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
