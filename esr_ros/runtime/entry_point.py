"""How the programs of this package begin and end, whenever they are told to stop."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any, Callable, NoReturn

from esr_core.errors import OptionError

STOPS = (signal.SIGINT, signal.SIGTERM)
#: After so long what hangs in ROS's own cleaning up is left to the system.
PATIENCE_S = 1.5
#: The highest that UDP ports allow for.
LAST_DOMAIN = 232


def run(module: str, name: str) -> NoReturn:
    """Call a function of a module that takes long to import; end with the exit code it returns.

    Told to stop, by SIGINT or SIGTERM, it is 0 at any time: also where SIGINT was switched off, as
    shells do for what they start in the background.
    """
    # A KeyboardInterrupt in the middle of imports may get lost, or come out as an error of the
    # module; so until they are done, to be told to stop is to leave.
    for stop in STOPS:
        signal.signal(stop, lambda number, frame: os._exit(0))
    main: Any = getattr(import_module(module), name)
    try:
        for stop in STOPS:
            signal.signal(stop, _interrupt)
        code = _exit_code(main)
        # Not sys.exit(): while Python takes itself apart, another signal would kill it, and threads
        # of ROS that are still there could abort it.
        leave(code)
    except KeyboardInterrupt:
        leave(0)


def _interrupt(number: int, frame: Any) -> NoReturn:
    """Once is enough: a second KeyboardInterrupt would fall into what the first has set off."""
    _ignore_stops()
    raise KeyboardInterrupt


def _ignore_stops() -> None:
    for stop in STOPS:
        # Not SIG_IGN: of a signal that has come already Python would say that it lost it.
        signal.signal(stop, lambda number, frame: None)


def _exit_code(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as end:  # of argparse
        return end.code if isinstance(end.code, int) else 1


def leave(code: int) -> NoReturn:
    """End at once; what was printed is not lost."""
    _ignore_stops()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a full disk, a closed pipe
            stream.flush()
    os._exit(code)


def leave_soon(code: int) -> None:
    """End in a while if what is going on then has not. (Fast DDS's TCP now and then hangs.)"""
    timer = threading.Timer(PATIENCE_S, leave, [code])
    timer.daemon = True
    timer.start()


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Initialise ROS from the command line; the parser takes what is not ROS's, which is returned.

    Raises:
        OptionError: ROS_DOMAIN_ID or an argument after ``--ros-args`` is wrong.
    """
    import rclpy
    from rclpy.utilities import remove_ros_args

    check_domain()
    try:
        rclpy.init()
    except RuntimeError as error:
        raise OptionError(_misread(str(error))) from error
    parsed, unknown = parser.parse_known_args(remove_ros_args(sys.argv)[1:])
    if unknown:
        raise OptionError(f"unknown: {' '.join(unknown)}; ROS's arguments come after --ros-args")
    return parsed


def check_domain() -> None:
    """Raise OptionError for a ROS_DOMAIN_ID that ends the process, in words of Fast DDS's."""
    domain = os.environ.get("ROS_DOMAIN_ID", "")
    if domain and not (domain.isdecimal() and int(domain) <= LAST_DOMAIN):
        raise OptionError(f"ROS_DOMAIN_ID must be from 0 to {LAST_DOMAIN}, but is {domain!r}")


def _misread(said: str) -> str:
    """What of an argument rcl did not understand: without its lexemes and its own source lines."""
    if said.startswith("["):  # that is all it says of these
        return f"unknown after --ros-args: {said}"
    said = re.sub(r", at \S+:\d+", "", said.splitlines()[0])
    said = re.sub(r"\. Error: Expected lexeme.*", "", said)
    said = said.replace("failed to initialize rcl: ", "").replace("Couldn't parse", "cannot read")
    for flag, wanted in (("-p", "NAME:=VALUE"), ("-r", "FROM:=TO")):
        if f"{flag} " in said:
            return f"{said}; wanted is {flag} {wanted}"
    return said
