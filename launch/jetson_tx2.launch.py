"""Start the emotion node on a Jetson TX2, with the arguments of emotion.launch.py."""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource


def generate_launch_description() -> LaunchDescription:
    """Include emotion.launch.py with the parameters of the platform."""
    launch = os.path.join(get_package_share_directory("esr_ros"), "launch", "emotion.launch.py")
    arguments = {"platform": "jetson_tx2"}.items()
    source = PythonLaunchDescriptionSource(launch)
    return LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
