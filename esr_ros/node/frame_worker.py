"""Worker thread: analyze the newest image of each camera and publish the result."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Deque, Dict, Generic, Hashable, List, Optional, TypeVar

import rclpy
from rclpy.node import Node
from std_msgs.msg import Header

from esr_core.errors import ImageError
from esr_core.perception.stage_timer import StageTimer
from esr_core.perception.stream_clock import LONGEST_LATENCY_S, stamp_seconds
from esr_core.pipeline import EmotionPipeline, FrameResult, View, limit_reached
from esr_ros.conversions.image_decoding import decode
from esr_ros.node.image_subscription import ImageSubscription, ReceivedImage
from esr_ros.node.ros4hri_publisher import Ros4HriPublisher

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Mailbox(Generic[K, T]):
    """A bounded queue per sender between the executor and the worker thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: Dict[K, Deque[T]] = {}
        self._closed = False

    def put(self, sender: K, item: T, depth: int = 1) -> bool:
        """Add an item; return True if it displaced the oldest of ``depth`` items of the sender."""
        with self._changed:
            items = self._items.setdefault(sender, deque())
            items.append(item)
            displaced = len(items) > depth
            if displaced:
                items.popleft()
            self._changed.notify()
            return displaced

    def wait(self) -> bool:
        """Block until there is an item and return True, or False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._items) or self._closed)
            return not self._closed

    def take(self) -> Dict[K, T]:
        """Remove and return the oldest item of each sender, without blocking."""
        with self._changed:
            taken = {sender: items.popleft() for sender, items in self._items.items()}
            self._items = {sender: items for sender, items in self._items.items() if items}
            return taken

    def has(self, sender: K) -> bool:
        """Return whether items of a sender wait."""
        with self._changed:
            return sender in self._items

    def drop(self, sender: K) -> int:
        """Remove all items of a sender and return their number."""
        with self._changed:
            return len(self._items.pop(sender, ()))

    def close(self) -> None:
        """Make :meth:`wait` return False from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class FrameWorker:
    """Processes one image of each camera at a time, in a thread of its own.

    Images that arrive faster than they are processed displace older ones and count as stale.
    """

    def __init__(
        self, node: Node, pipeline: EmotionPipeline, humans: Optional[Ros4HriPublisher]
    ) -> None:
        self._node, self._pipeline, self._humans = node, pipeline, humans
        self._mailbox: Mailbox[ImageSubscription, ReceivedImage] = Mailbox()
        # Held from taking images out of the mailbox until their results are published.
        self._processing = threading.RLock()
        self._thread = threading.Thread(target=self._run, name="emotion_worker", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """False once the thread has ended, by :meth:`stop` or by a defect."""
        return self._thread.is_alive()

    def put(self, camera: ImageSubscription, image: ReceivedImage) -> None:
        """Queue an image; the queue is as deep as that of the subscription."""
        camera.counters.add(stale=int(self._mailbox.put(camera, image, camera.depth)))

    def reset_idle(self, cameras: List[ImageSubscription]) -> None:
        """Remove all faces of those of the cameras that are idle, and have no image waiting."""
        if any(camera.is_idle for camera in cameras):  # else there is nothing to wait for
            with self._processing:
                idle = [camera for camera in cameras if camera.is_idle]
                self.reset([camera for camera in idle if not self._mailbox.has(camera)])

    def reset(self, cameras: List[ImageSubscription]) -> None:
        """Remove all faces of these cameras, after the current images are done."""
        with self._processing:
            for camera in cameras:
                camera.reset()
                if self._humans:
                    self._humans.withdraw_all(camera.number)

    def discard(self, cameras: List[ImageSubscription]) -> None:
        """Drop the queued images of cameras that have unsubscribed, and remove their faces."""
        for camera in cameras:
            camera.counters.add(stale=self._mailbox.drop(camera))
        self.reset(cameras)

    def stop(self) -> None:
        """Finish the current images and end the thread."""
        self._mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        while self._mailbox.wait():
            try:
                with self._processing:
                    self._process(self._mailbox.take())
            except RuntimeError:  # RCLError has no public name in every release of rclpy
                if rclpy.ok():
                    raise
                return  # ROS was shut down meanwhile

    def _process(self, images: Dict[ImageSubscription, ReceivedImage]) -> None:
        views, timer, began_s = {}, StageTimer(), time.monotonic()
        for camera, (image, arrival_s, detections) in images.items():
            try:
                rgb = decode(image, camera.value_range.update)
            except ImageError as error:
                camera.counters.add(undecodable=1, undecodable_in_a_row=1)
                camera.warn("image", f"ignored an image on {camera.topic}: {error}")
                continue
            stamp = image.header.stamp
            stamp_s = stamp_seconds(stamp.sec, stamp.nanosec)
            faces = detections(rgb.shape) if detections else None
            views[camera] = View(camera.stream, rgb, stamp_s, faces, arrival_s)
        timer.lap("decode")
        analyses = self._pipeline.analyze(list(views.values()), timer)
        for (camera, view), analysis in zip(views.items(), analyses):
            if not camera.is_subscribed:  # disabled during the analysis
                camera.counters.add(stale=1)
                continue
            result = self._pipeline.update(view.stream, analysis, view.stamp_s, view.arrival_s)
            camera.analyzed_s = time.monotonic()
            timer.lap("track")
            self._publish(camera, images[camera].image.header, view, result)
            timer.lap("publish")
            arrival_s = images[camera].arrival_s
            stages_s = {"wait": began_s - arrival_s, **timer.seconds}
            latency_s = here_s = time.monotonic() - arrival_s
            if view.stamp_s is not None and not camera.stream.clock.problem:
                latency_s = self._node.get_clock().now().nanoseconds * 1e-9 - view.stamp_s
            if 0 < latency_s < LONGEST_LATENCY_S:
                stages_s["transport"] = latency_s - here_s
                camera.counters.add_latency(latency_s, stages_s)

    def _publish(
        self, camera: ImageSubscription, header: Header, view: View, result: FrameResult
    ) -> None:
        is_published = True
        try:
            is_published = camera.publishers.publish(header, view.rgb, result)
        except ImageError as error:
            camera.warn("publishers", f"{camera.topic}: {error}")
        if camera.poses:
            camera.poses.publish(header, view.rgb, result.faces, self._pipeline)
        if self._humans:
            self._humans.publish(camera.number, header, view.rgb, result)
        camera.counters.add(
            answered=int(is_published), faces=len(result.faces), left_out=result.left_out
        )
        if result.left_out:
            note = limit_reached([result.left_out], self._pipeline.options, "image")
            camera.warn("limit", f"{camera.topic}: {note}")
        camera.counters.undecodable_in_a_row = 0
