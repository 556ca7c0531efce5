"""Modules of the ROS package that commands use where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from esr_core.errors import OptionError


def module(name: str) -> Any:
    """Import a module of esr_ros, by name: esr_core can be imported without ROS.

    Raises:
        OptionError: ROS is not installed; with the remedy.
    """
    for needed in ("rclpy", "rosbags", "esr_ros"):
        if importlib.util.find_spec(needed) is None:
            raise OptionError(
                f"{needed} is not installed; run 'source env.sh' in a clone, or source ROS 2 and "
                "this package's workspace, and 'pip install rosbags mcap'"
            )
    return importlib.import_module(f"esr_ros.{name}")
