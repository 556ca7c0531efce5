"""Start the emotion node:  ros2 launch esr_ros emotion.launch.py image_topic:=/camera/image_raw"""

from __future__ import annotations

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from esr_ros.runtime import fast_dds

PLATFORMS = ["default", "jetson_tx2", "jetson_xavier"]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the node itself is made when their values are known."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "image_topic",
                default_value="image_raw",
                description="Images to answer; a topic ending in /compressed is CompressedImage.",
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the node and its topics."
            ),
            DeclareLaunchArgument(
                "platform",
                default_value="default",
                choices=PLATFORMS,
                description="Whose parameters from config/ to take.",
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value="",
                description="A parameter file of your own, read after the platform's.",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="",
                choices=["", "true", "false"],
                description="Configure and activate at start; false waits for a manager. "
                "Empty: as the parameter files say.",
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="",
                choices=["", "true", "false"],
                description="Take the time from /clock, for bags and simulators. "
                "Empty: as the parameter files say.",
            ),
            DeclareLaunchArgument(
                "transports",
                default_value=fast_dds.environment().get("FASTDDS_BUILTIN_TRANSPORTS", ""),
                description="FASTDDS_BUILTIN_TRANSPORTS of the node; if that is set, this is empty "
                "and leaves it as it is. LARGE_DATA for images from another machine.",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="What the node says.",
            ),
            OpaqueFunction(function=_start),
        ]
    )


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    config = os.path.join(
        get_package_share_directory("esr_ros"), "config", value("platform") + ".yaml"
    )
    # What is read later wins: the platform, a file of the user's, an argument that was given.
    parameters: list[str | dict[str, bool]] = [config]
    params_file = value("params_file")
    if params_file:
        if not os.path.isfile(params_file):
            # launch_ros would warn, and start the node with other parameters than were asked for.
            raise FileNotFoundError(f"params_file: there is no file {params_file}")
        parameters.append(params_file)
    given = [name for name in ("autostart", "use_sim_time") if value(name)]
    parameters.append({name: value(name) == "true" for name in given})
    logger = ".".join([*value("namespace").strip("/").split("/"), "emotion_node"]).lstrip(".")
    started: list[LaunchDescriptionEntity] = [
        Node(
            package="esr_ros",
            executable="emotion_node",
            name="emotion_node",
            namespace=value("namespace"),
            output="screen",
            parameters=parameters,
            remappings=[("image_raw", value("image_topic"))],
            arguments=["--ros-args", "--log-level", f"{logger}:={value('log_level')}"],
        )
    ]
    environment = fast_dds.environment()
    environment["FASTDDS_BUILTIN_TRANSPORTS"] = value("transports")
    changes = [SetEnvironmentVariable(name, set_) for name, set_ in environment.items() if set_]
    return [*changes, *started]
