"""The layout for Foxglove names what the node publishes; no test can open it in Foxglove itself."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Iterator

import numpy as np
from ament_index_python.packages import get_package_share_directory
from numpy.typing import NDArray

from esr_core.emotions import COLOURS_RGB, LABELS
from esr_ros.msg import EmotionArray

LAYOUT = Path(get_package_share_directory("esr_ros")) / "config/viewers/emotions.foxglove.json"


def panels(tree: Any) -> Iterator[str]:
    """Yield the panels of a tree of splits."""
    if isinstance(tree, str):
        yield tree
    else:
        yield from panels(tree["first"])
        yield from panels(tree["second"])


def value(message: EmotionArray, path: str) -> Any:
    """Return what a message path, such as /emotion.emotions[0].label, has in a message."""
    assert path.startswith("/emotion.emotions[")
    for name, index in re.findall(r"\.(\w+)(?:\[(\d|:)\])?", path):
        message = getattr(message, name)
        message = message[0 if index == ":" else int(index)] if index else message
    return message


def test_layout_shows_what_the_node_publishes(
    met: Any, photograph: NDArray[np.uint8], to_image: Any
) -> None:
    layout = json.loads(LAYOUT.read_text("utf-8"))
    shown = layout["configById"]
    assert sorted(panels(layout["layout"])) == sorted(shown)
    _, me = met()
    (face,) = me.ask(to_image(photograph)).emotions
    answer = EmotionArray(emotions=[face])

    def published(topic: str, kind: str) -> bool:
        return (topic, [kind]) in me.node.get_topic_names_and_types()

    camera = shown["Image!camera"]["imageMode"]
    (annotations,) = camera["annotations"]
    assert camera["annotations"][annotations]["visible"]
    diagnostics = shown["DiagnosticSummary!node"]["topicToRender"]
    for topic, kind in (
        (camera["imageTopic"], "sensor_msgs/msg/Image"),
        (annotations, "foxglove_msgs/msg/ImageAnnotations"),
        (diagnostics, "diagnostic_msgs/msg/DiagnosticArray"),
        ("/emotion", "esr_ros/msg/EmotionArray"),
    ):
        assert me.spin_until(lambda topic=topic, kind=kind: published(topic, kind), 10), topic

    lines = shown["Plot!probabilities"]["paths"]
    assert [value(answer, each["value"]) for each in lines] == face.probabilities.tolist()
    assert [each["label"] for each in lines] == list(LABELS)
    colours = [tuple(bytes.fromhex(each["color"][1:])) for each in lines]
    assert colours == list(COLOURS_RGB)
    affect = [value(answer, each["value"]) for each in shown["Plot!affect"]["paths"]]
    assert affect == [face.valence, face.arousal]
    assert value(answer, shown["Table!faces"]["topicPath"]) == face
