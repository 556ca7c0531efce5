"""Launch description of one platform, for the thin files in launch/."""

from __future__ import annotations

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource


def description(platform: str) -> LaunchDescription:
    """Include emotion.launch.py, with all its arguments, for a platform."""
    path = os.path.join(get_package_share_directory("esr_ros"), "launch", "emotion.launch.py")
    source = PythonLaunchDescriptionSource(path)
    arguments = {"platform": platform}.items()
    return LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
