"""External detections: their synchronisation with images, and those of ROS4HRI (REP-155)."""

from __future__ import annotations

import posixpath
import re
from functools import partial
from typing import Any, Callable, Dict, Generic, List, Optional, Set, Tuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import OptionError
from esr_core.perception.detection import Detections
from esr_ros.conversions.messages import hri

#: Ending of the topic of IdsList.
SUFFIX = "/tracked"
#: Stamps whose regions are kept until the list of ids arrives.
DEPTH = 20
#: Ids beyond this number are ignored.
MAX_FACES = 256
#: Longest topic name in ROS.
LONGEST_TOPIC = 247
#: A valid part of a topic name.
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")

A = TypeVar("A")
B = TypeVar("B")
Stamp = Tuple[int, int]  # seconds, nanoseconds
#: Returns the faces of an external detector, given the shape of the image.
Found = Callable[[Tuple[int, ...]], Detections]


def stamp_of(message: Any) -> Stamp:
    """Return the stamp of a message that has a header."""
    return message.header.stamp.sec, message.header.stamp.nanosec


class StampSync(Generic[A, B]):
    """Pairs items of exactly equal stamps, in any order; queues ``depth`` items of each kind."""

    def __init__(self, depth: int = 20) -> None:
        self._depth = depth
        self._firsts: Dict[Stamp, A] = {}
        self._seconds: Dict[Stamp, B] = {}
        self.dropped = 0  # first items whose counterpart did not arrive in time

    def add_first(self, stamp: Stamp, item: A) -> Optional[Tuple[A, B]]:
        """Add an item of the first kind; return the pair if it is complete."""
        if stamp in self._seconds:
            return item, self._seconds.pop(stamp)
        self.dropped += stamp in self._firsts  # the one before has no counterpart
        self._firsts[stamp] = item
        if len(self._firsts) > self._depth:
            self._firsts.pop(next(iter(self._firsts)))
            self.dropped += 1
        return None

    def add_second(self, stamp: Stamp, item: B) -> Optional[Tuple[A, B]]:
        """Add an item of the second kind; return the pair if it is complete."""
        if stamp in self._firsts:
            return self._firsts.pop(stamp), item
        self._seconds[stamp] = item
        if len(self._seconds) > self._depth:
            self._seconds.pop(next(iter(self._seconds)))
        return None


class Ros4HriSubscriber:
    """Subscribes to the list of ids and the region of each id, and joins those of one stamp."""

    def __init__(
        self,
        topic: str,
        subscribe: Callable[..., Any],
        destroy: Callable[[Any], None],
        on_faces: Callable[[Stamp, Found], None],
    ) -> None:
        """topic: of the list; the regions are on ``<id>/roi`` beside it.

        subscribe, destroy: make (type, topic, callback) and end a subscription.
        """
        if hri is None:
            raise OptionError(f"detections_topic {topic} needs hri_msgs, which is not installed")
        self._folder = posixpath.dirname(topic)
        self._subscribe, self._destroy, self._on_faces = subscribe, destroy, on_faces
        self._subscriptions: Dict[str, Any] = {}  # by id
        self._received: Set[str] = set()  # ids with at least one region
        self._stamp: Optional[Stamp] = None  # of the last list, until its faces were passed on
        self._ids: List[str] = []
        self._regions: Dict[Stamp, Dict[str, Any]] = {}
        subscribe(hri.IdsList, topic, self._on_ids)

    def _on_ids(self, message: Any) -> None:
        if self._stamp and self._stamp != stamp_of(message):
            self._emit(self._stamp)  # regions that are still missing are not waited for
        longest = LONGEST_TOPIC - len(posixpath.join(self._folder, "", "roi"))
        names = [name for name in message.ids if _NAME.fullmatch(name) and len(name) < longest]
        ids = list(dict.fromkeys(names))[:MAX_FACES]
        for name in set(self._subscriptions) - set(ids):
            self._destroy(self._subscriptions.pop(name))
            self._received.discard(name)
        for name in set(ids) - set(self._subscriptions):
            self._subscriptions[name] = self._subscribe(
                hri.NormalizedRegionOfInterest2D,
                posixpath.join(self._folder, name, "roi"),
                partial(self._on_region, name),
            )
        self._stamp, self._ids = stamp_of(message), ids
        self._emit_if_complete()

    def _on_region(self, name: str, region: Any) -> None:
        self._received.add(name)
        self._regions.setdefault(stamp_of(region), {})[name] = region
        while len(self._regions) > DEPTH:
            self._regions.pop(next(iter(self._regions)))
        self._emit_if_complete()

    def _emit_if_complete(self) -> None:
        if self._stamp:
            expected = self._received.intersection(self._ids)
            if expected <= set(self._regions.get(self._stamp, ())):
                self._emit(self._stamp)

    def _emit(self, stamp: Stamp) -> None:
        self._stamp, regions = None, self._regions.pop(stamp, {})
        table = boxes([regions[name] for name in self._ids if name in regions])
        self._on_faces(stamp, lambda shape: _detections(table, shape))


def boxes(regions: List[Any]) -> NDArray[np.float32]:
    """Return the valid regions as x1, y1, x2, y2 in parts of the image, and score: (n, 5)."""
    rows = [[r.xmin, r.ymin, r.xmax, r.ymax, r.c] for r in regions]
    table = np.array(rows, np.float32).reshape(-1, 5)
    solid = (table[:, 2] > table[:, 0]) & (table[:, 3] > table[:, 1])
    valid: NDArray[np.float32] = table[solid & np.isfinite(table).all(axis=1)].clip(-10, 10)
    return valid


def _detections(table: NDArray[np.float32], shape: Any) -> Detections:
    height, width = shape[:2]
    scaled = table * np.array([width, height, width, height, 1], np.float32)
    scaled = scaled[((scaled[:, 2:4] - scaled[:, :2]) >= 1).all(axis=1)]  # in pixels
    return without_landmarks(scaled)


def faces(array: Any) -> Detections:
    """Return the faces of a Detection2DArray; invalid boxes are left out.

    The score is that of the most probable hypothesis, 1 without one; landmarks are NaN.
    """
    rows = []
    for detection in array.detections:
        position, box = detection.bbox.center.position, detection.bbox
        centre, size = np.array([position.x, position.y]), np.array([box.size_x, box.size_y])
        score = max((result.hypothesis.score for result in detection.results), default=1.0)
        if np.isfinite([*centre, *size, score]).all() and (size >= 1).all():
            corners = np.concatenate([centre - size / 2, centre + size / 2])
            rows.append([*corners.clip(-1e5, 1e5), score])
    return without_landmarks(np.array(rows, np.float32).reshape(-1, 5))


def without_landmarks(table: NDArray[np.float32]) -> Detections:
    """Return faces of x1, y1, x2, y2 in px and score, (n, 5), with landmarks of NaN."""
    unknown = np.full((len(table), 5, 2), np.nan, np.float32)
    return Detections(table[:, :4], table[:, 4].clip(0, 1), unknown)
