"""Bags for tests: short recordings of the photograph, and ways to look into any bag."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Dict, List, Tuple

from esr_ros.bags import cdr
from esr_ros.bags.reader import BagReader
from esr_ros.bags.writer import BagWriter
from esr_ros.demo.photo_bag import record
from esr_ros.demo.scene import Scene

#: No face, one, two, none; 42 images.
SCENE = Scene(((0.4, 0), (2.0, 1), (1.0, 2), (0.8, 0)), rate_hz=10.0)


def recorded(
    path: Path, scene: Scene = SCENE, compressed: bool = True, storage: str = "mcap"
) -> Path:
    """Record a scene, by default in the smallest form."""
    record(path, scene, compressed, storage)
    return path


def content(path: Path) -> Dict[str, List[Tuple[int, bytes]]]:
    """Return all messages of a bag by topic: time in ns, bytes."""
    found: Dict[str, List[Tuple[int, bytes]]] = {}
    with BagReader(path) as bag:
        for connection, time_ns, data in bag.messages(bag.connections):
            found.setdefault(connection.topic, []).append((time_ns, data))
    return found


def answers(path: Path) -> Dict[str, List[Tuple[int, bytes]]]:
    """Return what was added to the recorded images."""
    return {topic: each for topic, each in content(path).items() if topic.startswith("/emotion")}


def emotions(path: Path, topic: str = "/emotion") -> List[Any]:
    """Return the EmotionArrays of a bag."""
    return [cdr.read(data, "esr_ros/msg/EmotionArray") for _, data in content(path)[topic]]


def with_topics(path: Path, source: Path, topics: Dict[str, str]) -> Path:
    """Copy a bag with each topic renamed."""
    with BagReader(source) as bag, BagWriter(path, bag.storage) as writer:
        made = {
            each.topic: writer.offer(topics[each.topic], each.msgtype) for each in bag.connections
        }
        for connection, time_ns, data in bag.messages(bag.connections):
            writer.put(made[connection.topic], time_ns, data)
    return path


def storage_file(bag: Path) -> Path:
    """Return the file of a bag that holds its messages."""
    (file,) = (each for each in bag.iterdir() if each.suffix in (".mcap", ".db3"))
    return file


def damaged(source: Path, path: Path, keep: float = 1.0, flip: float = -1.0) -> Path:
    """Copy a bag; keep a share of its file, or turn round a byte at a share of it."""
    shutil.copytree(source, path)
    file = storage_file(path)
    data = bytearray(file.read_bytes()[: round(keep * file.stat().st_size)])
    if flip >= 0:
        data[round(flip * len(data))] ^= 0xFF
    file.write_bytes(data)
    return path
