"""A camera that needs no camera: publishes a photograph that moves, or writes a bag of it.

The photograph is scikit-image's ``astronaut`` (Eileen Collins, NASA, public domain).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Dict, List, Tuple

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from esr_core.errors import EsrError, OptionError
from esr_ros.conversions.messages import image
from esr_ros.demo.scene import PERIOD_S, Scene, SceneRenderer
from esr_ros.runtime.entry_point import begin, leave_soon

#: Number of faces in a bag, and for which share of its time. One leaves, and returns.
BAG_SCRIPT = ((0.1, 0), (0.3, 1), (0.25, 2), (0.15, 0), (0.2, 1))
BAG_HZ, LONGEST_S = 15.0, 60.0
#: The longest standard deviation of the blur in a bag, px: a smile looks neutral then.
DEFOCUS_PX = 12.0


def show() -> int:
    """Show one face on ``image_raw`` until told to stop, or write a bag, for people to try."""
    try:
        arguments, others = _parser().parse_known_args()
        if arguments.bag is not None:
            return _write(arguments, others)
        if arguments.seconds is not None or arguments.compressed:
            raise OptionError("--seconds and --compressed are of --bag")
        begin(_parser())
        painter = SceneRenderer(Scene(((PERIOD_S, 1),)))
    except EsrError as error:
        print(f"photo_camera: {error}", file=sys.stderr)
        return 2
    return _publish(painter)


def _write(arguments: argparse.Namespace, others: List[str]) -> int:
    """Write a bag; nobody is sent anything.

    Raises:
        OptionError: arguments that cannot be, or a place where it cannot be written.
    """
    from esr_ros.demo.photo_bag import record

    bag: Path = arguments.bag
    if others:  # of ROS's arguments none would do anything
        raise OptionError(f"unknown beside --bag: {' '.join(others)}")
    seconds = 10.0 if arguments.seconds is None else arguments.seconds
    if not 1 <= seconds <= LONGEST_S:
        raise OptionError(f"--seconds must be from 1 to {LONGEST_S:.0f}, but got {seconds:g}")
    if bag.exists():
        raise OptionError(f"--bag: {bag} is there already; remove it, or name another")
    if not bag.absolute().parent.is_dir():
        raise OptionError(f"--bag: there is no folder {bag.absolute().parent} to make {bag} in")
    scenes = tuple((share * seconds, faces) for share, faces in BAG_SCRIPT)
    play = Scene(scenes, BAG_HZ, defocus_px=DEFOCUS_PX)
    try:
        # Elsewhere until it is whole.
        with tempfile.TemporaryDirectory(prefix=".photo_", dir=bag.absolute().parent) as folder:
            record(Path(folder) / bag.name, play, arguments.compressed)
            os.rename(Path(folder) / bag.name, bag)
    except OSError as error:
        raise OptionError(f"{bag}: {error.strerror}") from error
    topic = "/image_raw/compressed" if arguments.compressed else "/image_raw"
    print(f"{bag}: {play.frames} images of {play.seconds:.1f} s on {topic}")
    return 0


def _publish(painter: SceneRenderer) -> int:
    frames = range(painter.play.frames)
    messages = cycle([image(Header(frame_id="camera"), painter.draw(frame)) for frame in frames])
    node = rclpy.create_node("photo_camera")
    publisher = node.create_publisher(Image, "image_raw", 1)  # reliable: viewers want that

    def publish() -> None:
        message = next(messages)
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)

    node.create_timer(1 / painter.play.rate_hz, publish)
    node.get_logger().info(
        f"a face on {publisher.topic_name}, rgb8 640x480 at 30 Hz, reliable; Ctrl-C ends it"
    )
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        leave_soon(0)
        rclpy.try_shutdown()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="photo_camera",
        usage="%(prog)s [-h] [--ros-args ...]\n       %(prog)s --bag FOLDER [--seconds N] "
        "[--compressed]",
        description="A camera that needs no camera: publishes a photograph that moves, or writes "
        "a bag of it.",
        epilog="examples:\n  photo_camera\n  photo_camera --ros-args -r image_raw:=left/image_raw\n"
        "  photo_camera --bag walk                # nobody, one face, two, nobody, one again;\n"
        "                                         # now and then out of focus\n"
        "  photo_camera --bag walk --seconds 30 --compressed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--bag", type=Path, metavar="FOLDER", help="write a new bag (MCAP) instead of publishing"
    )
    parser.add_argument(
        "--seconds", type=float, metavar="N", help="how long it is, from 1 to 60 (default: 10)"
    )
    parser.add_argument(
        "--compressed", action="store_true", help="JPEGs, 0.4 MB a second instead of 14"
    )
    return parser


def main() -> None:
    """Publish on ``image_raw`` as demo and benchmark want it, until the play is over.

    On stdout it says when it begins to publish. Until a line comes on stdin it shows an empty room,
    so that everybody can find each other first; then it plays what its command line tells, and
    says what it sent: one JSON list of [stamp_ns, faces].
    """
    play = Scene(**json.loads(sys.argv[1]))
    # A Ctrl-C goes to all processes of a terminal; this one ends when its stdin is closed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "image_raw", qos_profile_sensor_data)
    painter = SceneRenderer(play)
    # Drawn beforehand, since drawing would take the cores on which the node is to be measured;
    # a scene that is longer than the movement shows the same messages again.
    period = round(PERIOD_S * play.rate_hz)
    drawn: Dict[Tuple[int, int], Image] = {}
    for frame in range(play.frames):
        shown = play.faces_at(frame), frame % period
        if shown not in drawn:
            drawn[shown] = image(Header(frame_id="camera"), painter.draw(frame))
    empty = image(Header(frame_id="camera"), painter.room)
    print(json.dumps("ready"), flush=True)
    sent: List[List[int]] = []
    playing, due_s = False, time.monotonic()
    while len(sent) < play.frames:
        if select.select([sys.stdin], [], [], 0)[0]:
            playing = bool(sys.stdin.readline())
            if not playing:
                return  # nobody is there any more
        faces = play.faces_at(len(sent)) if playing else 0
        message = drawn[faces, len(sent) % period] if playing else empty
        stamp = node.get_clock().now()
        message.header.stamp = stamp.to_msg()
        publisher.publish(message)
        if playing:
            sent.append([stamp.nanoseconds, faces])
        due_s += 1 / play.rate_hz
        time.sleep(max(due_s - time.monotonic(), 0))
    print(json.dumps(sent), flush=True)
    sys.stdin.read()  # stay, until the listener has heard all and closes the pipe
    node.destroy_node()
    rclpy.shutdown()


if __name__ == "__main__":
    main()
