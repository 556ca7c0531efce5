"""Start the emotion node:  ros2 launch esr_ros emotion.launch.py image_topic:=/camera/image_raw

CMakeLists.txt also installs this file as jetson_tx2.launch.py and so on, one for each platform.
"""

from __future__ import annotations

import os
from typing import Any, Callable

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from esr_core.options import options
from esr_ros.dashboard.options import DashboardOptions, is_local_name
from esr_ros.runtime import fast_dds

BOOLEAN = ["", "true", "false", "True", "False"]  # bringups of Python write the latter
PLATFORMS = ["default", "jetson_tx2", "jetson_xavier", "jetson_orin", "jetson_thor"]
PLATFORM = os.path.basename(__file__).partition(".")[0]
#: Name, default, choices and description of each argument.
ARGUMENTS = [
    ("image_topic", "image_raw", None, "Image topic, of type Image or CompressedImage."),
    ("namespace", "", None, "Namespace of the node and its topics."),
    (
        "platform",
        PLATFORM if PLATFORM in PLATFORMS else "default",
        PLATFORMS,
        "Platform; its parameter file in config/ is read.",
    ),
    ("params_file", "", None, "Another parameter file, read after that of the platform."),
    (
        "autostart",
        "",
        BOOLEAN,
        "Configure and activate at start; false: wait for a lifecycle manager. Empty: as in the "
        "parameter files.",
    ),
    (
        "use_sim_time",
        "",
        BOOLEAN,
        "Use the time of /clock, for bags and simulators. Empty: as in the parameter files.",
    ),
    (
        "transports",
        fast_dds.environment().get("FASTDDS_BUILTIN_TRANSPORTS", ""),
        None,
        "FASTDDS_BUILTIN_TRANSPORTS of the node, e.g. LARGE_DATA for images from another machine. "
        "Empty: as in the environment; this is the default if it is set there.",
    ),
    ("log_level", "info", ["debug", "info", "warn", "error", "fatal"], "Log level of the node."),
    ("dashboard", "false", BOOLEAN[1:], "Serve a live page, too: docs/dashboard.md."),
    *(
        (f"dashboard_{each.name}", str(each.default), None, each.description)
        for each in options(DashboardOptions)
        if each.name in ("host", "port", "token")
    ),
]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, choices=choices, description=description)
        for name, default, choices, description in ARGUMENTS
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    share = get_package_share_directory("esr_ros")
    config = os.path.join(share, "config", value("platform") + ".yaml")
    # Later parameters override earlier ones.
    parameters: list[str | dict[str, bool]] = [config]
    if value("params_file"):
        if not os.path.isfile(value("params_file")):
            # launch_ros only warns and starts the node without it.
            raise FileNotFoundError(f"params_file: no such file {value('params_file')}")
        parameters.append(value("params_file"))
    given = [name for name in ("autostart", "use_sim_time") if value(name)]
    parameters.append({name: value(name).lower() == "true" for name in given})
    space = value("namespace")
    if not space.startswith("/"):  # it is below that of the groups which include this file
        space = f"{context.launch_configurations.get('ros_namespace', '')}/{space}"
    logger = f"{space.strip('/')}/emotion_node".lstrip("/").replace("/", ".")
    # Of these nodes only: nodes that a bringup starts afterwards keep their environment.
    settings = {**fast_dds.environment(), "FASTDDS_BUILTIN_TRANSPORTS": value("transports")}
    common = {
        "package": "esr_ros",
        "namespace": value("namespace"),
        "output": "screen",
        "additional_env": {name: text for name, text in settings.items() if text},
    }
    node = Node(
        executable="emotion_node",
        name="emotion_node",
        parameters=parameters,
        remappings=[("image_raw", value("image_topic"))],
        arguments=["--ros-args", "--log-level", f"{logger}:={value('log_level')}"],
        **common,
    )
    return [node] if value("dashboard").lower() == "false" else [node, *_dashboard(value, common)]


def _dashboard(
    value: Callable[[str], str], common: dict[str, Any]
) -> list[LaunchDescriptionEntity]:
    """Return the live page, and a warning if other machines can reach it."""
    port = value("dashboard_port")
    if not port.isdecimal():
        raise ValueError(f"dashboard_port must be a whole number, but got {port!r}")
    # Of stated type, as a token of digits would become a number.
    texts = {
        name: ParameterValue(value(f"dashboard_{name}"), value_type=str)
        for name in ("host", "token")
    }
    parameters = {**texts, "port": int(port)}
    if value("use_sim_time"):
        parameters["use_sim_time"] = value("use_sim_time").lower() == "true"
    name = "emotion_dashboard"
    page = Node(executable=name, name=name, parameters=[parameters], **common)
    host = value("dashboard_host")
    if is_local_name(host):
        return [page]
    warning = f"dashboard_host is {host}: other machines can reach the page, with its token"
    return [LogInfo(msg=f"warning: {warning}"), page]
