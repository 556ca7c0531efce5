"""A bag that needs no robot: what :mod:`esr_ros.demo.photo_camera` shows, recorded."""

from __future__ import annotations

from pathlib import Path

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from esr_ros.annotation.worker import COMPRESSED, IMAGE
from esr_ros.bags import cdr
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions.messages import image, jpeg
from esr_ros.demo.scene import Scene, SceneRenderer

#: Of the first image; any time will do, and the same one makes the same bag.
BEGIN_S = 1_700_000_000
QUALITY = 90


def record(path: Path, play: Scene, compressed: bool = False, storage: str = "mcap") -> None:
    """Write a play into a new bag: on ``/image_raw``, or ``/image_raw/compressed`` as JPEG.

    Raises:
        CameraError: there is no photograph.
        OSError, BagWriteError: it cannot be written.
    """
    painter = SceneRenderer(play)
    topic = "/image_raw/compressed" if compressed else "/image_raw"
    with BagWriter(path, storage) as writer:
        kind = COMPRESSED if compressed else IMAGE
        images = writer.offer(topic, kind)
        for frame in range(play.frames):
            since_ns = round(frame * 1e9 / play.rate_hz)
            sec, nanosec = BEGIN_S + since_ns // 10**9, since_ns % 10**9
            header = Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id="camera")
            rgb = painter.draw(frame)
            message = jpeg(header, rgb, QUALITY) if compressed else image(header, rgb)
            writer.put(images, sec * 10**9 + nanosec, cdr.write(message, kind))
