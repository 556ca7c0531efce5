"""What Fast DDS is told by its environment, so that images arrive and others are found soon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

from ament_index_python.packages import get_package_share_directory

#: Where Fast DDS is older than 3.0, and reads its profiles from a variable with the older name.
OLDER = ("humble", "iron", "jazzy")
#: For processes on one machine as good as LARGE_DATA, without its TCP; from Jazzy on. README has
#: how they compare.
SHARED_MEMORY = "DEFAULT?sockets_size=8MB"


def environment() -> Dict[str, str]:
    """Return the variables to set: those that the user has not. Other middlewares ignore them.

    Large images get lost over the default transports. With the profile others are found in one
    second instead of four.
    """
    name = "FASTRTPS" if os.environ.get("ROS_DISTRO") in OLDER else "FASTDDS"
    profile = Path(get_package_share_directory("esr_ros")) / "config" / "fastdds.xml"
    wanted = {
        "FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA",
        f"{name}_DEFAULT_PROFILES_FILE": str(profile),
    }
    return {name: value for name, value in wanted.items() if name not in os.environ}


def prefer_shared_memory() -> None:
    """Set the environment of this process and its children, where all that talk are these."""
    os.environ.update(environment())
    is_large_data = os.environ["FASTDDS_BUILTIN_TRANSPORTS"] == "LARGE_DATA"  # ours, or env.sh's
    if is_large_data and os.environ.get("ROS_DISTRO") != "humble":
        os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = SHARED_MEMORY
