"""A robot that needs no robot: publishes what a bag holds, at the pace of the recording."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import rclpy
from rclpy.executors import ExternalShutdownException

from esr_core.errors import EsrError, OptionError
from esr_core.progress import bar
from esr_ros.runtime.entry_point import begin, leave_soon

#: What --loop without a number means.
FOREVER = 0
#: By how much a recording may be slowed down and sped up.
RATES = (0.001, 1000.0)


def main() -> int:
    """Play a bag until it is over, or until told to stop; returns the exit code."""
    try:
        return _run()
    except (EsrError, OSError) as error:
        print(f"bag_player: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except RuntimeError:
        if rclpy.ok():
            raise
        return 0  # told to stop in the middle of it
    finally:
        leave_soon(0)
        rclpy.try_shutdown()


def _run() -> int:
    arguments = begin(_parser())
    _check(arguments)
    # By name: without rosbags it cannot be imported, which is said in words above.
    playback = importlib.import_module("esr_ros.playback.playback")
    bags = importlib.import_module("esr_ros.bags.reader")
    with bags.Bag(arguments.bag) as bag:
        node = rclpy.create_node("bag_player", start_parameter_services=False)
        playing = playback.Playback(node, bag, arguments.topics, arguments.clock)
        log = node.get_logger()
        for said in playing.left_out:
            log.warning(f"left out: {said}")
        log.info(f"{bag.path}: {playing.count} messages for {', '.join(playing.topics)}")
        playing.wait(arguments.wait)
        if playing.lonely():
            log.warning(f"nobody listens to {', '.join(playing.lonely())}; playing all the same")
        _play(playing, arguments)
        if not playing.finish():
            log.warning("not all subscribers have acknowledged the last messages")
        for said in dict.fromkeys(bag.damage):
            log.warning(f"damaged: {said}")
        log.info("done")
    return 0


def _play(playing: Any, arguments: argparse.Namespace) -> None:
    """Play round after round, and show how far it is."""
    rounds = count() if arguments.loop == FOREVER else range(arguments.loop)
    with bar("messages") as progress:
        for number in rounds:
            of = "" if arguments.loop == FOREVER else f" of {arguments.loop}"
            said = arguments.bag.name + (f", round {number + 1}{of}" if arguments.loop != 1 else "")
            task = progress.add_task(said, total=playing.count)
            playing.play(arguments.rate, lambda task=task: progress.advance(task))
            progress.remove_task(task)


def _check(arguments: argparse.Namespace) -> None:
    """Raise OptionError for what the parser cannot know."""
    if not RATES[0] <= arguments.rate <= RATES[1]:
        raise OptionError(
            f"--rate must be from {RATES[0]} to {RATES[1]:g}, but got {arguments.rate}"
        )
    if not 0 <= arguments.wait <= 86400:
        raise OptionError(f"--wait must be from 0 to 86400 seconds, but got {arguments.wait}")
    if importlib.util.find_spec("rosbags") is None:
        raise OptionError("rosbags is not installed; run 'pip install rosbags mcap'")


def _rounds(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 10**9):
        raise argparse.ArgumentTypeError(
            f"N must be a whole number from 1, but got {text!r}; without N, --loop comes last"
        )
    return int(text)


class _Parser(argparse.ArgumentParser):
    """One whose errors are a line, without the usage."""

    def error(self, message: str) -> NoReturn:
        hint = "; it stands before --topics" if message.endswith(" BAG") else ""
        raise OptionError(message + hint)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bag_player",
        usage="%(prog)s BAG [-h] [--rate X] [--loop [N]] [--clock] [--topics T ...] [--wait S]\n"
        "                  [--ros-args ...]",
        description="Publish what a bag holds, at the pace and with the QoS of the recording.",
        epilog="examples:\n"
        "  bag_player walk/\n"
        "  bag_player walk.mcap --rate 0.5 --loop --topics /head/image_raw\n"
        "  bag_player walk/ --clock --ros-args -r /head/image_raw:=/image_raw\n\n"
        "With --clock, start nodes with '-p use_sim_time:=true'. For an answer to every image:\n"
        "  emotion_node --ros-args -p reliability:=reliable \\\n"
        "    -p qos_overrides./image_raw.subscription.depth:=1000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "bag", type=Path, metavar="BAG", help="a bag's folder, or its .mcap or .db3"
    )
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="X", help="so many times as fast (default: 1)"
    )
    parser.add_argument(
        "--loop",
        type=_rounds,
        nargs="?",
        default=1,
        const=FOREVER,
        metavar="N",
        help="play it N times; without N: until stopped",
    )
    parser.add_argument(
        "--clock", action="store_true", help="publish the recording's time on /clock"
    )
    parser.add_argument(
        "--topics", nargs="+", default=[], metavar="T", help="play these only (default: all)"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=10.0,
        metavar="S",
        help="wait so many seconds at most until someone listens to the images (default: 10)",
    )
    return parser
