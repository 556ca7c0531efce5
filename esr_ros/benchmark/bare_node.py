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


def main() -> int:
    """Answer images until stopped; returns the exit code."""
    return call("bare_node", _run)


def _run() -> None:
    begin(argparse.ArgumentParser())
    node = rclpy.create_node("bare_node")
    publisher = node.create_publisher(EmotionArray, "emotion", 10)
    node.create_subscription(
        Image,
        "image_raw",
        lambda image: publisher.publish(EmotionArray(header=image.header)),
        qos_profile_sensor_data,
    )
    rclpy.spin(node)


if __name__ == "__main__":
    raise SystemExit(main())
