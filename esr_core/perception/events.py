"""Events of faces: appeared, disappeared, and changed emotion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, List

from esr_core.perception.face_emotion import FaceEmotion

#: The kinds of events; ``EmotionEvent.msg`` has the same numbers.
KINDS = ("appeared", "disappeared", "changed")


@dataclass(frozen=True)
class Event:
    """An event of one face."""

    kind: str  # one of KINDS
    face: FaceEmotion  # the current one; for a disappeared face the last one
    previous: int  # the emotion before, an index into LABELS


class EventDetector:
    """Compares the emotion of each face with the last one."""

    def __init__(self) -> None:
        self._last: Dict[int, FaceEmotion] = {}

    def update(self, faces: Iterable[FaceEmotion], tracked: Iterable[int]) -> List[Event]:
        """Return the events since the image before.

        faces: those of this image. tracked: the ids of all current tracks; a face that is missing
        in an image disappears when its track ends.
        """
        ended = [self._last.pop(face_id) for face_id in sorted(set(self._last) - set(tracked))]
        events = [Event("disappeared", face, face.emotion) for face in ended]
        for face in faces:
            last = self._last.get(face.face_id)
            if last is None:
                events.append(Event("appeared", face, face.emotion))
            elif last.emotion != face.emotion:
                events.append(Event("changed", face, last.emotion))
            self._last[face.face_id] = face
        return events
