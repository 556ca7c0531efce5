"""Modules of the ROS package that commands use where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from esr_core.errors import OptionError

#: rosbags 0.11 does not exist for the Python of JetPack 5.
TOO_OLD = "bags need Python 3.10 or newer; process them on another machine"


def module(name: str) -> Any:
    """Import a module of esr_ros, by name: esr_core can be imported without ROS.

    Raises:
        OptionError: ROS is not installed, or Python is too old for bags; with the remedy.
    """
    if sys.version_info < (3, 10):
        raise OptionError(TOO_OLD)
    for needed in ("rclpy", "rosbags", "esr_ros"):
        if importlib.util.find_spec(needed) is None:
            raise OptionError(
                f"{needed} is not installed; run 'source env.sh' in a clone, or source ROS 2 and "
                "this package's workspace, and 'pip install rosbags mcap'"
            )
    return importlib.import_module(f"esr_ros.{name}")
