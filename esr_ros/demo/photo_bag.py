"""A bag of the scene that :mod:`esr_ros.demo.photo_camera` publishes."""

from __future__ import annotations

from pathlib import Path

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from esr_ros.bags import cdr
from esr_ros.bags.writer import BagWriter
from esr_ros.conversions.messages import image, jpeg
from esr_ros.demo.scene import Scene, SceneRenderer

#: Time of the first image; constant, so that the same scene makes the same bag.
BEGIN_S = 1_700_000_000
QUALITY = 90


def record(path: Path, scene: Scene, compressed: bool = False, storage: str = "mcap") -> str:
    """Write a scene into a new bag; return the topic of its images, raw or compressed as JPEG.

    Raises:
        SceneError: the photograph is not installed.
        OSError, BagWriteError: the bag cannot be written.
    """
    renderer = SceneRenderer(scene)
    topic = "/image_raw/compressed" if compressed else "/image_raw"
    kind = cdr.COMPRESSED if compressed else cdr.IMAGE
    with BagWriter(path, storage) as writer:
        images = writer.offer(topic, kind)
        for frame in range(scene.frames):
            time_ns = BEGIN_S * 10**9 + round(frame * 1e9 / scene.rate_hz)
            stamp = Time(sec=time_ns // 10**9, nanosec=time_ns % 10**9)
            header = Header(stamp=stamp, frame_id="camera")
            rgb = renderer.draw(frame)
            message = jpeg(header, rgb, QUALITY) if compressed else image(header, rgb)
            writer.put(images, time_ns, cdr.write(message, kind))
    return topic
