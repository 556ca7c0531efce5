"""Faces that another node tracks, as in ROS4HRI (REP-155): a list of ids, a region for each."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Callable, Dict, List, Set

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import OptionError
from esr_core.perception.detection import Detections
from esr_ros.conversions.vision_msgs import Found, without_landmarks
from esr_ros.node.stamp_sync import Stamp, stamp_of

try:
    from hri_msgs import msg as hri
except ModuleNotFoundError:  # optional: such a detections_topic is refused then
    hri = None

#: How a topic of IdsList ends.
SUFFIX = "/tracked"
#: Lists and regions of so many images are kept until the others come.
DEPTH = 20
#: Nobody tracks more; what says so is broken.
MAX_FACES = 256
#: Longer names ROS does not take.
LONGEST_TOPIC = 247
#: What may be a part of a topic's name.
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")

#: Subscribes to a topic of a type, and returns what ends that again.
Subscribe = Callable[[Any, str, Callable[[Any], None]], Callable[[], None]]


class Ros4HriSubscriber:
    """Hears which faces there are and where, and tells of all faces of one stamp together."""

    def __init__(
        self, topic: str, subscribe: Subscribe, on_faces: Callable[[Stamp, Found], None]
    ) -> None:
        """topic: of the list; regions are beside it, on ``<id>/roi``. Who ends all subscriptions
        made by ``subscribe`` ends it.

        Raises:
            OptionError: hri_msgs is not installed.
        """
        if hri is None:
            raise OptionError(f"detections_topic {topic} needs hri_msgs, which is not installed")
        self._folder = posixpath.dirname(topic)
        self._subscribe, self._on_faces = subscribe, on_faces
        self._ends: Dict[str, Callable[[], None]] = {}
        self._heard: Set[str] = set()  # of which a region has come already
        self._ids: Dict[Stamp, List[str]] = {}
        self._regions: Dict[Stamp, Dict[str, Any]] = {}
        subscribe(hri.IdsList, topic, self._on_ids)

    def _on_ids(self, message: Any) -> None:
        # An image whose regions are not all here by now is told of with those that are.
        for stamp in [each for each in self._ids if each != stamp_of(message)]:
            self._tell(stamp)
        longest = LONGEST_TOPIC - len(posixpath.join(self._folder, "", "roi"))
        names = [name for name in message.ids if _NAME.fullmatch(name) and len(name) < longest]
        ids = list(dict.fromkeys(names))[:MAX_FACES]
        for name in set(self._ends) - set(ids):
            self._ends.pop(name)()
            self._heard.discard(name)
        for name in set(ids) - set(self._ends):
            self._ends[name] = self._subscribe(
                hri.NormalizedRegionOfInterest2D,
                posixpath.join(self._folder, name, "roi"),
                lambda region, name=name: self._on_region(name, region),  # type: ignore[misc]
            )
        self._ids[stamp_of(message)] = ids
        self._tell_if_complete(stamp_of(message))

    def _on_region(self, name: str, region: Any) -> None:
        self._heard.add(name)
        self._regions.setdefault(stamp_of(region), {})[name] = region
        while len(self._regions) > DEPTH:
            self._regions.pop(next(iter(self._regions)))
        self._tell_if_complete(stamp_of(region))

    def _tell_if_complete(self, stamp: Stamp) -> None:
        wanted = self._heard.intersection(self._ids.get(stamp, ()))
        if stamp in self._ids and wanted <= set(self._regions.get(stamp, ())):
            self._tell(stamp)

    def _tell(self, stamp: Stamp) -> None:
        regions, ids = self._regions.pop(stamp, {}), self._ids.pop(stamp)
        table = boxes([regions[name] for name in ids if name in regions])
        self._on_faces(stamp, lambda shape: _faces(table, shape))


def boxes(regions: List[Any]) -> NDArray[np.float32]:
    """Return regions as x1, y1, x2, y2 in parts of the image, and score: (n, 5); only real ones."""
    rows = [[r.xmin, r.ymin, r.xmax, r.ymax, r.c] for r in regions]
    table = np.array(rows, np.float32).reshape(-1, 5)
    solid = (table[:, 2] > table[:, 0]) & (table[:, 3] > table[:, 1])
    kept: NDArray[np.float32] = table[solid & np.isfinite(table).all(axis=1)].clip(-10, 10)
    return kept


def _faces(table: NDArray[np.float32], shape: Any) -> Detections:
    height, width = shape[:2]
    scaled = table * np.array([width, height, width, height, 1], np.float32)
    scaled = scaled[((scaled[:, 2:4] - scaled[:, :2]) >= 1).all(axis=1)]  # in pixels
    return without_landmarks(scaled)
