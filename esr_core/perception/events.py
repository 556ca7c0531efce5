"""What happens to faces: they come, they go, and they change what they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, List

from esr_core.perception.face_emotion import FaceEmotion

#: The kinds of events; ``EmotionEvent.msg`` has the same numbers.
KINDS = ("appeared", "disappeared", "changed")


@dataclass(frozen=True)
class Event:
    """Something that happened to one face."""

    kind: str  # one of KINDS
    face: FaceEmotion  # as it is now; of one that disappeared, as it was last
    previous: int  # what it showed before, an index into LABELS


class EventDetector:
    """Remembers what each face showed last, and tells what is new."""

    def __init__(self) -> None:
        self._last: Dict[int, FaceEmotion] = {}

    def update(self, faces: Iterable[FaceEmotion], followed: Iterable[int]) -> List[Event]:
        """Return what happened since the image before.

        faces: those of this image. followed: the ids of all that the tracker still looks for; a
        face that is missing in an image has not gone before its track ends.
        """
        events = []
        now = {face.face_id: face for face in faces}
        for face_id in sorted(set(self._last) - set(followed)):
            gone = self._last.pop(face_id)
            events.append(Event("disappeared", gone, gone.emotion))
        for face_id, face in now.items():
            before = self._last.get(face_id)
            if before is None:
                events.append(Event("appeared", face, face.emotion))
            elif before.emotion != face.emotion:
                events.append(Event("changed", face, before.emotion))
        self._last.update(now)
        return events
