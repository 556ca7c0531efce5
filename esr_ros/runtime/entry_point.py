"""Start and stop of the programs of this package, whenever a signal arrives."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, Callable, Iterator, NoReturn, Optional

from esr_core.errors import EsrError, OptionError
from esr_core.file_names import print_any_name
from esr_core.process import keep_freed_memory
from esr_ros.runtime import fast_dds

STOPS = (signal.SIGINT, signal.SIGTERM)
#: Time after which a clean-up of ROS that hangs is left to the system; ros2 launch waits 5 s.
PATIENCE_S = 4.0
#: Longest wait of ROS's executor, and so until a signal is heeded.
WAKE_S = 0.2
#: The highest domain that UDP ports allow for.
LAST_DOMAIN = 232


def run(module: str, name: str) -> NoReturn:
    """Call a function of a module that takes long to import; exit with the code it returns.

    SIGINT and SIGTERM end the program with 0 at any time, also where SIGINT was ignored, as shells
    do for background processes.
    """
    try:
        with exits_at_once():
            main = getattr(import_module(module), name)
        try:
            code = main()
        except SystemExit as end:  # of argparse
            code = end.code if isinstance(end.code, int) else 1
        # Not sys.exit(): during Python's shutdown another signal would kill it, and remaining
        # threads of ROS could abort it.
        leave(code)
    except KeyboardInterrupt:
        leave(0)


@contextmanager
def exits_at_once() -> Iterator[None]:
    """Within it, SIGINT and SIGTERM exit with 0 at once; after it, they raise KeyboardInterrupt.

    For imports and other foreign code, in which a KeyboardInterrupt could get lost or become
    another error, while there is nothing to clean up.
    """
    _handle_stops(lambda number, frame: os._exit(0))
    yield
    _handle_stops(_interrupt)


def note_stops() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set, from now on, instead of raising.

    For a loop of ROS's executor: a KeyboardInterrupt that is raised in a destructor gets lost.
    """
    stopped = threading.Event()

    def note(number: int, frame: Any) -> None:
        _ignore_stops()  # a flood of them would interrupt the handler again and again
        stopped.set()

    _handle_stops(note)
    return stopped


def _handle_stops(handler: Callable[[int, Any], None]) -> None:
    for stop in STOPS:
        signal.signal(stop, handler)


def _interrupt(number: int, frame: Any) -> NoReturn:
    """Raise KeyboardInterrupt once: a second one would interrupt the handling of the first."""
    _ignore_stops()
    raise KeyboardInterrupt


def _ignore_stops() -> None:
    # Not SIG_IGN: Python would report a pending signal as lost.
    _handle_stops(lambda number, frame: None)


def leave(code: int) -> NoReturn:
    """Exit at once, after flushing the output."""
    _ignore_stops()
    _exit(code)


def _exit(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a full disk, a closed pipe
            stream.flush()
    os._exit(code)


def leave_soon(code: int) -> None:
    """Exit after PATIENCE_S unless the program ends before. (Fast DDS's TCP sometimes hangs.)"""
    # Only the main thread may set handlers of signals, as leave() does.
    timer = threading.Timer(PATIENCE_S, _exit, [code])
    timer.daemon = True
    timer.start()


def spin(
    node: Any, stopped: threading.Event, after_each: Callable[[], None] = lambda: None
) -> None:
    """Run the callbacks of a node until ``stopped`` is set or ROS is shut down.

    after_each: called after each callback, and every WAKE_S without one.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    # EventsExecutor (rclpy 7.1 and 9.1) would save 6 % of the processor time, with the same
    # latency, but fails at callbacks that take the information about a message.
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok() and not stopped.is_set():
            # Not spin(): a signal does not end its wait.
            executor.spin_once(timeout_sec=WAKE_S)
            after_each()
        leave_soon(0)  # should the following hang
    finally:
        executor.shutdown()


def call(program: str, main: Callable[[], Optional[int]]) -> int:
    """Call a function that uses ROS, shut ROS down, and return the exit code.

    0 after SIGINT or SIGTERM, 2 after one line on stderr for an error of the user.
    """
    import rclpy
    from rclpy.exceptions import NotInitializedException
    from rclpy.executors import ExternalShutdownException

    code = 1  # of an exception that is none of the following
    try:
        code = main() or 0
    except (EsrError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        code = 2
    except SystemExit as end:  # of argparse
        code = end.code if isinstance(end.code, int) else 1
        raise
    except (KeyboardInterrupt, ExternalShutdownException):
        code = 0
    except (RuntimeError, NotInitializedException):  # RCLError has no public name in all releases
        # A signal invalidates the context in another thread; then any call of rclpy may fail.
        if rclpy.ok():
            raise
        code = 0
    finally:
        leave_soon(code)
        rclpy.try_shutdown()
    return code


def begin(parser: argparse.ArgumentParser, *, says_goodbye: bool = False) -> argparse.Namespace:
    """Initialise ROS, and parse the other arguments; OptionError if something is wrong.

    says_goodbye: SIGINT and SIGTERM leave ROS running until the program shuts it down, so that it
    can publish; a wait for ROS ends no sooner for them.
    What large images need of Fast DDS and of the memory allocator is set for this process; for Fast
    DDS unless the environment has it.
    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    print_any_name()
    check_domain()
    os.environ.update(fast_dds.environment())
    keep_freed_memory()
    try:
        handlers = SignalHandlerOptions.NO if says_goodbye else SignalHandlerOptions.ALL
        rclpy.init(signal_handler_options=handlers)
    except RuntimeError as error:
        raise OptionError(_explained(str(error))) from error
    except UnicodeEncodeError as error:
        raise OptionError(f"arguments must be UTF-8, but got {error.object!r}") from error
    parsed, unknown = parser.parse_known_args(remove_ros_args(sys.argv)[1:])
    if unknown:
        raise OptionError(f"unknown: {' '.join(unknown)}; ROS's arguments come after --ros-args")
    return parsed


def check_domain() -> None:
    """Raise OptionError for a ROS_DOMAIN_ID with which Fast DDS ends the process."""
    domain = os.environ.get("ROS_DOMAIN_ID", "")
    if domain and not (domain.isdecimal() and int(domain) <= LAST_DOMAIN):
        raise OptionError(f"ROS_DOMAIN_ID must be from 0 to {LAST_DOMAIN}, but is {domain!r}")


def without_source_lines(text: str) -> str:
    """Return an error of rcl without the places in its source."""
    return re.sub(r", at \S+:\d+", "", text)


def _explained(text: str) -> str:
    """Return an error of rcl for an argument, without lexemes and its source lines."""
    if text.startswith("["):  # no more than the argument
        return f"unknown after --ros-args: {text}"
    text = without_source_lines(text.splitlines()[0])
    text = re.sub(r"\. Error: Expected lexeme.*", "", text)
    text = text.replace("failed to initialize rcl: ", "").replace("Couldn't parse", "cannot read")
    if "logging" in text or ".log for writing" in text:
        return f"{text}; set ROS_LOG_DIR to a folder that can be written"
    for flag, wanted in (("-p", "NAME:=VALUE"), ("-r", "FROM:=TO")):
        if f"{flag} " in text:
            return f"{text}; wanted is {flag} {wanted}"
    return text
