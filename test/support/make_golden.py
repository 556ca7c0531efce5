"""A recording, its answers, and their form in golden_replay.json.

``python test/support/make_golden.py`` rewrites that file after an intended change of the answers.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from rclpy.serialization import deserialize_message
from vision_msgs.msg import Detection2DArray

from esr_core.pipeline import EmotionPipeline, PipelineOptions
from esr_ros.annotation.annotate import AnnotationJob, annotate
from esr_ros.annotation.executors import thread_executor
from esr_ros.bags.reader import BagReader
from esr_ros.demo.photo_bag import record
from esr_ros.demo.scene import Scene
from esr_ros.msg import EmotionArray, EmotionEvent

GOLDEN = Path(__file__).with_name("golden_replay.json")
#: Nobody, one face, two, nobody until they are given up, and one to the end, in and out of focus.
PLAY = Scene(((0.4, 0), (0.8, 1), (0.7, 2), (0.6, 0), (0.8, 1)), 10.0, 320, 240, defocus_px=6.0)
#: Topics of the answers, and the types of their messages.
KINDS = {
    "/emotion": EmotionArray,
    "/emotion/events": EmotionEvent,
    "/emotion/detections": Detection2DArray,
}
#: Messages by topic, in their order.
Published = dict[str, list[Any]]


def walk(bag: Path) -> None:
    """Record the play with a lens that loses its focus, again and again: smiles become vague."""
    record(bag, PLAY, compressed=True)


def answered(bag: Path, output: Path) -> Published:
    """Answer a bag, as ``esr annotate`` does without flags, and read the answers."""
    options = PipelineOptions()
    pipeline = EmotionPipeline(options)
    with thread_executor(options, pipeline.model) as executor:
        annotate(bag, output, AnnotationJob(options), pipeline, executor)
    published: Published = {topic: [] for topic in KINDS}
    with BagReader(output) as answers:
        wanted = [each for each in answers.connections if each.topic in KINDS]
        for connection, _, data in answers.messages(wanted):
            published[connection.topic].append(deserialize_message(data, KINDS[connection.topic]))
    return published


def summary(published: Published) -> dict[str, Any]:
    """What of the answers is kept: of each image its time in ms since the first, and its faces."""
    begin_ms = _stamp_ms(published["/emotion"][0])
    images = [
        [_stamp_ms(message) - begin_ms, [_face(each) for each in message.emotions]]
        for message in published["/emotion"]
    ]
    events = [
        [_stamp_ms(event) - begin_ms, event.type, event.face_id, event.label]
        for event in published["/emotion/events"]
    ]
    return {"images": images, "events": events}


def _stamp_ms(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec * 1000 + stamp.nanosec // 10**6)


def _face(emotion: Any) -> list[Any]:
    roi = emotion.roi
    place = [roi.x_offset, roi.y_offset, roi.width, roi.height]
    probabilities = [round(float(each), 3) for each in emotion.probabilities]
    return [emotion.face_id, emotion.label, place, probabilities]


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / "bag"
        walk(bag)
        kept = summary(answered(bag, Path(folder) / "answers"))
    parts = []
    for name, rows in kept.items():
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        parts.append(f'"{name}": [\n{lines}\n]')
    GOLDEN.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
