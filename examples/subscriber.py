import rclpy
from rclpy.executors import ExternalShutdownException

from esr_ros.msg import EmotionArray


def on_emotions(message):
    for face in message.emotions:
        affect = f"valence {face.valence:+.2f}, arousal {face.arousal:+.2f}"
        print(f"face {face.face_id}: {face.label} {face.confidence:.0%}, {affect}", flush=True)


rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(EmotionArray, "emotion", on_emotions, 10)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass  # Ctrl-C, or a shutdown of ROS
