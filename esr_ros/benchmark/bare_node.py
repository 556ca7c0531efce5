"""The least that a node can do: answer each image with an empty message.

Its latency is the share of rclpy and DDS in that of emotion_node.
"""

from __future__ import annotations

import argparse

import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from esr_ros.msg import EmotionArray
from esr_ros.runtime.entry_point import begin, call


def main() -> None:
    """Answer images until stopped."""
    begin(argparse.ArgumentParser())
    node = rclpy.create_node("bare_node")
    publisher = node.create_publisher(EmotionArray, "emotion", 10)

    def answer(image: Image) -> None:
        publisher.publish(EmotionArray(header=image.header))

    node.create_subscription(Image, "image_raw", answer, qos_profile_sensor_data)
    rclpy.spin(node)


if __name__ == "__main__":
    raise SystemExit(call("bare_node", main))
