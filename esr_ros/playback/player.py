"""The program ``bag_player``: publish a bag at the pace of the recording."""

from __future__ import annotations

import argparse
from functools import partial
from itertools import count
from pathlib import Path
from typing import NoReturn

import rclpy

from esr_core.errors import OptionError
from esr_core.progress import bar
from esr_ros.runtime.entry_point import begin, call

#: Value of --loop without a number.
FOREVER = 0


def main() -> int:
    """Play a bag to its end, or until a signal; returns the exit code."""
    return call("bag_player", _run)


def _run() -> int:
    arguments = begin(_parser())
    if not 0.001 <= arguments.rate <= 1000:
        raise OptionError(f"--rate must be from 0.001 to 1000, but got {arguments.rate}")
    if not 0 <= arguments.wait <= 86400:
        raise OptionError(f"--wait must be from 0 to 86400 seconds, but got {arguments.wait}")
    # Here, as an error of this import is one of the user: it needs rosbags.
    from esr_ros.bags.reader import BagReader
    from esr_ros.playback.playback import Playback

    with BagReader(arguments.bag) as bag:
        node = rclpy.create_node("bag_player", start_parameter_services=False)
        playing = Playback(node, bag, arguments.topics, arguments.clock)
        log = node.get_logger()
        for text in playing.left_out:
            log.warning(f"left out: {text}")
        log.info(f"{bag.path}: {playing.count} messages for {', '.join(playing.topics)}")
        playing.wait(arguments.wait)
        if unmatched := ", ".join(playing.unmatched()):
            log.warning(f"no subscribers on {unmatched}; playing nevertheless")
        rounds = count() if arguments.loop == FOREVER else range(arguments.loop)
        with bar("messages") as progress:
            for number in rounds:
                of = "" if arguments.loop == FOREVER else f" of {arguments.loop}"
                suffix = f", round {number + 1}{of}" if arguments.loop != 1 else ""
                task = progress.add_task(bag.path.name + suffix, total=playing.count)
                playing.play(arguments.rate, partial(progress.advance, task))
                progress.remove_task(task)
        if not playing.finish():
            log.warning("not all subscribers have acknowledged the last messages")
        for text in dict.fromkeys(bag.damage):
            log.warning(f"damaged: {text}")
        log.info("done")
        return 2 if bag.damage or playing.left_out else 0


def _rounds(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 10**9):
        raise argparse.ArgumentTypeError(
            f"N must be a whole number from 1, but got {text!r}; without N, --loop comes last"
        )
    return int(text)


class _Parser(argparse.ArgumentParser):
    """A parser that raises its errors, without the usage."""

    def error(self, message: str) -> NoReturn:
        hint = "; it stands before --topics" if message.endswith(" BAG") else ""
        raise OptionError(message + hint)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bag_player",
        usage="%(prog)s BAG [-h] [--rate X] [--loop [N]] [--clock] [--topics T ...] [--wait S]\n"
        "                  [--ros-args ...]",
        description="Publish a bag at the pace and with the QoS of the recording.",
        epilog="examples:\n"
        "  bag_player walk/\n"
        "  bag_player walk.mcap --rate 0.5 --loop --topics /head/image_raw\n"
        "  bag_player walk/ --clock --ros-args -r /head/image_raw:=/image_raw\n\n"
        "With --clock, start nodes with '-p use_sim_time:=true'. To have every image processed:\n"
        "  emotion_node --ros-args -p reliability:=reliable \\\n"
        "    -p qos_overrides./image_raw.subscription.depth:=1000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag("bag", type=Path, metavar="BAG", help="a bag's folder, or its .mcap or .db3")
    flag("--rate", type=float, default=1.0, metavar="X", help="speed factor (default: 1)")
    loop_help = "play it N times; without N: until stopped"
    flag("--loop", type=_rounds, nargs="?", default=1, const=FOREVER, metavar="N", help=loop_help)
    flag("--clock", action="store_true", help="publish the recording's time on /clock")
    flag("--topics", nargs="+", default=[], metavar="T", help="play only these (default: all)")
    wait_help = "longest time to wait for subscribers to the images, in s (default: 10)"
    flag("--wait", type=float, default=10.0, metavar="S", help=wait_help)
    return parser
