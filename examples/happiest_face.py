"""A robot that turns to the happiest face.

It hears ``emotion`` and says on ``cmd_vel`` (geometry_msgs/Twist) how fast to turn: the farther
from the middle of the image that face is, the faster. When nobody is happy, or nothing has come for
a second, it stands still.

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

SILENCE_S = 1.0


class HappiestFace(Node):
    """Turns; driving, and whether there is room to turn, are not its business."""

    def __init__(self) -> None:
        super().__init__("happiest_face")
        self._width_px = self.declare_parameter("image_width_px", 640).value
        self._fastest_rad_s = self.declare_parameter("fastest_rad_s", 0.8).value
        self._least = self.declare_parameter("least_probability", 0.5).value
        self._heard_s = time.monotonic()
        self._commands = self.create_publisher(Twist, "cmd_vel", 1)
        self.create_subscription(EmotionArray, "emotion", self._on_emotions, 1)
        self.create_timer(SILENCE_S / 10, self._stop_in_silence)

    def _on_emotions(self, message: EmotionArray) -> None:
        self._heard_s = time.monotonic()
        happy = [
            face for face in message.emotions if face.probabilities[Emotion.HAPPY] >= self._least
        ]
        if not happy:
            self.turn(0.0)
            return
        happiest = max(happy, key=lambda face: float(face.probabilities[Emotion.HAPPY]))
        centre_px = happiest.roi.x_offset + happiest.roi.width / 2
        # Left of the middle is positive, as are turns to the left (REP 103).
        offset = max(-1.0, min(1.0, 1 - 2 * centre_px / self._width_px))
        self.turn(offset * self._fastest_rad_s)

    def _stop_in_silence(self) -> None:
        if time.monotonic() - self._heard_s > SILENCE_S:
            self.turn(0.0)

    def turn(self, rad_s: float) -> None:
        """Say how fast to turn, to the left where it is positive."""
        command = Twist()
        command.angular.z = rad_s
        self._commands.publish(command)
        self.get_logger().info(f"turns by {rad_s:+.2f} rad/s", throttle_duration_sec=1.0)


def main() -> None:
    """Run until told to stop."""
    # ROS would take itself down at Ctrl-C, and the last command could not be said any more.
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
