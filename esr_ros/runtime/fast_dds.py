"""Environment variables for Fast DDS, for large images and quick discovery."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

from ament_index_python.packages import get_package_share_directory

#: Distributions with a Fast DDS before 3.0, whose variable for profiles has the older name.
OLDER = ("humble", "iron", "jazzy")
#: Its default transports with shared memory that is large enough for images; not in Humble.
SHARED_MEMORY = "DEFAULT?sockets_size=8MB"


def environment() -> Dict[str, str]:
    """Return the variables to set that the user has not set; other middlewares ignore them.

    By default Fast DDS loses large images, and discovery may take three seconds;
    docs/troubleshooting.md compares its transports.
    """
    distribution = os.environ.get("ROS_DISTRO")
    name = "FASTRTPS" if distribution in OLDER else "FASTDDS"
    profile = Path(get_package_share_directory("esr_ros")) / "config" / "fastdds.xml"
    variables = {f"{name}_DEFAULT_PROFILES_FILE": str(profile)}
    # Not LARGE_DATA in Humble: processes without it would not discover the node.
    if distribution != "humble":
        variables["FASTDDS_BUILTIN_TRANSPORTS"] = SHARED_MEMORY
    return {name: value for name, value in variables.items() if name not in os.environ}
