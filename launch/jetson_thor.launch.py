"""Start the emotion node on a Jetson Thor, with the arguments of emotion.launch.py."""

from launch import LaunchDescription

from esr_ros.runtime import platform_launch


def generate_launch_description() -> LaunchDescription:
    """Include emotion.launch.py with the parameters of the platform."""
    return platform_launch.description("jetson_thor")
