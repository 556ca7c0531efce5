"""Recorded bags, and one that the command annotated."""

from __future__ import annotations

from pathlib import Path

import bags
import pytest
from annotation import SIDES
from commands import esr

from esr_ros.bags.cdr import COMPRESSED
from esr_ros.bags.reader import BagReader
from esr_ros.bags.writer import BagWriter


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bags.recorded(tmp_path_factory.mktemp("recorded") / "walk")


@pytest.fixture(scope="session")
def annotated(walk: Path) -> Path:
    done = esr(walk.parent, "annotate", walk)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{walk}_emotions: 42 of 42 images answered, 3 faces in 30;")
    return walk.parent / "walk_emotions"


@pytest.fixture(scope="session")
def both(walk: Path) -> Path:
    path = walk.parent / "both"
    with BagReader(walk) as bag, BagWriter(path, "mcap") as writer:
        made = [writer.offer(each, COMPRESSED) for each in SIDES]
        for _, time_ns, data in bag.messages(bag.connections):
            for topic in made:
                writer.put(topic, time_ns, data)
    return path
