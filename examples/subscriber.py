import signal

import rclpy

from esr_ros.msg import EmotionArray


def on_emotions(message):
    for face in message.emotions:
        affect = f"valence {face.valence:+.2f}, arousal {face.arousal:+.2f}"
        print(f"face {face.face_id}: {face.label} {face.confidence:.0%}, {affect}", flush=True)


stops = []
signal.signal(signal.SIGINT, lambda number, frame: stops.append(number))
rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)  # Ctrl-C ends the loop
node = rclpy.create_node("listener")
node.create_subscription(EmotionArray, "emotion", on_emotions, 10)
while not stops:
    rclpy.spin_once(node, timeout_sec=0.1)
