"""What Fast DDS is told by its environment, so that images arrive and others are found soon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict

from ament_index_python.packages import get_package_share_directory

#: Where Fast DDS is older than 3.0, and reads its profiles from a variable with the older name.
OLDER = ("humble", "iron", "jazzy")
#: Its own transports with shared memory that is large enough for images. Humble does not know it.
SHARED_MEMORY = "DEFAULT?sockets_size=8MB"
#: Images by shared memory, all else by TCP; for images from another machine.
LARGE_DATA = "LARGE_DATA"


def environment() -> Dict[str, str]:
    """Return the variables to set: those that the user has not. Other middlewares ignore them.

    By default Fast DDS loses large images, and may take three seconds to find others. The README
    compares its transports.
    """
    distribution = os.environ.get("ROS_DISTRO")
    name = "FASTRTPS" if distribution in OLDER else "FASTDDS"
    profile = Path(get_package_share_directory("esr_ros")) / "config" / "fastdds.xml"
    wanted = {
        "FASTDDS_BUILTIN_TRANSPORTS": LARGE_DATA if distribution == "humble" else SHARED_MEMORY,
        f"{name}_DEFAULT_PROFILES_FILE": str(profile),
    }
    return {name: value for name, value in wanted.items() if name not in os.environ}
