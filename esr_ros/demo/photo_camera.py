"""A simulated camera: publishes a moving photograph, or writes a bag of it."""

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
from typing import List

import rclpy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from esr_core.errors import EsrError, OptionError
from esr_ros.conversions.emotion_topics import beside
from esr_ros.conversions.messages import image
from esr_ros.demo.scene import PERIOD_S, Scene, SceneRenderer
from esr_ros.runtime import rclpy_features
from esr_ros.runtime.entry_point import begin, call, exits_at_once

#: Shares of a bag's time, and number of faces. One face leaves and returns.
BAG_SCRIPT = ((0.1, 0), (0.3, 1), (0.25, 2), (0.15, 0), (0.2, 1))
BAG_HZ, LONGEST_S = 15.0, 60.0
#: Focal length that is published, px: a face of 110 px is 0.7 m away.
FOCAL_PX = 550.0
#: Largest standard deviation of the blur in a bag, px; it makes a smile look neutral.
DEFOCUS_PX = 12.0


def show() -> int:
    """Publish images and their calibration until stopped, or write a bag; returns the exit code."""
    arguments, others = _parser().parse_known_args()
    try:
        if arguments.bag is not None:
            _write(arguments, others)
            return 0
        if arguments.seconds is not None or arguments.compressed:
            raise OptionError("--seconds and --compressed are of --bag")
    except EsrError as error:
        print(f"photo_camera: {error}", file=sys.stderr)
        return 2
    return call("photo_camera", _publish)


def _write(arguments: argparse.Namespace, others: List[str]) -> None:
    """Write a bag, without ROS; OptionError for invalid arguments, or if that fails."""
    from esr_ros.demo.photo_bag import record

    bag: Path = arguments.bag
    if others:  # ROS's arguments have no effect
        raise OptionError(f"unknown beside --bag: {' '.join(others)}")
    seconds = 10.0 if arguments.seconds is None else arguments.seconds
    if not 1 <= seconds <= LONGEST_S:
        raise OptionError(f"--seconds must be from 1 to {LONGEST_S:.0f}, but got {seconds:g}")
    if bag.exists():
        raise OptionError(f"--bag: {bag} exists already; remove it, or name another")
    if not bag.absolute().parent.is_dir():
        raise OptionError(f"--bag: there is no folder {bag.absolute().parent} to make {bag} in")
    script = tuple((share * seconds, faces) for share, faces in BAG_SCRIPT)
    scene = Scene(script, BAG_HZ, defocus_px=DEFOCUS_PX)
    try:
        # In another place until it is complete.
        with tempfile.TemporaryDirectory(prefix=".photo_", dir=bag.absolute().parent) as folder:
            topic = record(Path(folder) / bag.name, scene, arguments.compressed)
            os.rename(Path(folder) / bag.name, bag)
    except OSError as error:
        raise OptionError(f"{bag}: {error.strerror}") from error
    print(f"{bag}: {scene.frames} images of {scene.seconds:.1f} s on {topic}")


def _publish() -> None:
    with exits_at_once():
        renderer = SceneRenderer(Scene(((PERIOD_S, 1),)))
        messages = cycle(_rendered(renderer))
    begin(_parser())
    node = rclpy.create_node("photo_camera")
    publisher = node.create_publisher(Image, "image_raw", 1)  # reliable, for viewers
    topic, info = beside(publisher.topic_name, "camera_info"), _calibration(renderer.scene)
    calibrations = node.create_publisher(CameraInfo, topic, 1)

    def publish() -> None:
        message = next(messages)
        message.header.stamp = node.get_clock().now().to_msg()
        rclpy_features.publish(publisher, message)
        info.header = message.header
        rclpy_features.publish(calibrations, info)

    node.create_timer(1 / renderer.scene.rate_hz, publish)
    node.get_logger().info(
        f"a face on {publisher.topic_name}, rgb8 640x480 at 30 Hz, reliable; Ctrl-C ends it"
    )
    rclpy.spin(node)


def _calibration(scene: Scene) -> CameraInfo:
    """Return the calibration of a camera without distortion."""
    width, height = scene.width_px, scene.height_px
    info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [FOCAL_PX, 0.0, width / 2, 0.0, FOCAL_PX, height / 2, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [*info.k[:3], 0.0, *info.k[3:6], 0.0, *info.k[6:], 0.0]
    return info


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="photo_camera",
        usage="%(prog)s [-h] [--ros-args ...]\n       %(prog)s --bag FOLDER [--seconds N] "
        "[--compressed]",
        description="Simulate a camera: publish a moving photograph, or write a bag of it.",
        epilog="examples:\n  photo_camera\n  photo_camera --ros-args -r image_raw:=left/image_raw\n"
        "  photo_camera --bag walk                # no face, one, two, none, one again;\n"
        "                                         # sometimes out of focus\n"
        "  photo_camera --bag walk --seconds 30 --compressed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    flag = parser.add_argument
    flag("--bag", type=Path, metavar="FOLDER", help="write a new bag (MCAP) instead of publishing")
    flag("--seconds", type=float, metavar="N", help="its length, from 1 to 60 (default: 10)")
    flag("--compressed", action="store_true", help="JPEG, 0.4 MB a second instead of 14")
    return parser


def main() -> None:
    """Publish a scene for demo and benchmark.

    The argument is the scene and the topic, as JSON. "ready" on stdout reports the first image. The
    empty room is published for discovery, until "rest" arrives on stdin, after which nothing is, or
    "go": then the scene is played once, and its images are reported on stdout: one JSON list of
    [stamp_ns, faces, frame].
    """
    fields, topic = json.loads(sys.argv[1])
    scene = Scene(**fields)
    # Ctrl-C in a terminal reaches all processes; this one ends when its stdin is closed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, topic, 10)  # reliable, for nodes of either reliability
    renderer = SceneRenderer(scene)
    messages = _rendered(renderer)
    empty = image(Header(frame_id="camera"), renderer.room)
    print(json.dumps("ready"), flush=True)
    sent: List[List[int]] = []
    is_playing, due_s = False, time.monotonic()
    while len(sent) < scene.frames:
        if select.select([sys.stdin], [], [], 0)[0]:
            line = sys.stdin.readline()
            if line and json.loads(line) == "rest":
                line, due_s = sys.stdin.readline(), time.monotonic()
            is_playing = bool(line)
            if not is_playing:
                return  # the other side has ended
        stamp = node.get_clock().now()
        message = messages[len(sent)] if is_playing else empty
        message.header.stamp = stamp.to_msg()
        rclpy_features.publish(publisher, message)
        if is_playing:
            sent.append([stamp.nanoseconds, scene.faces_at(len(sent)), len(sent)])
        due_s += 1 / scene.rate_hz
        time.sleep(max(due_s - time.monotonic(), 0))
    print(json.dumps(sent), flush=True)
    sys.stdin.read()  # until the subscriber has received all and closes the pipe
    node.destroy_node()
    rclpy.shutdown()


def _rendered(renderer: SceneRenderer) -> List[Image]:
    """Return the message of each frame, rendered beforehand; equal frames share one message.

    Rendering while they are published would take the cores from the node that is measured.
    """
    scene, messages = renderer.scene, {}
    period = round(PERIOD_S * scene.rate_hz)
    keys = [(scene.faces_at(frame), frame % period) for frame in range(scene.frames)]
    for frame, key in enumerate(keys):
        if key not in messages:
            messages[key] = image(Header(frame_id="camera"), renderer.draw(frame))
    return [messages[key] for key in keys]


if __name__ == "__main__":
    main()
