"""What an unfinished annotation has found so far; a later run goes on from it."""

from __future__ import annotations

import fcntl
import io
import json
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import EsrError
from esr_core.inference.onnx_model import Prediction
from esr_core.perception.detection import Detections
from esr_core.pipeline import FrameAnalysis
from esr_ros.annotation.worker import AnalysisRecord, Stamp

#: Length and checksum of what follows.
_HEAD = struct.Struct("<II")
_ARRAYS = ("boxes", "scores", "landmarks", "probabilities", "affect", "votes")


class ResumeLogError(EsrError):
    """Another run writes it, or it is about something else."""


class ResumeLog:
    """Batches of sights, in the order in which a bag has them; each is on the disk once added.

    The file begins with a description of what it is about. A batch that a killed run left
    unfinished at its end is dropped.
    """

    def __init__(self, path: Path, about: Dict[str, Any], anew: bool = False) -> None:
        """Open the file, or begin it; anew: what an earlier run wrote is dropped.

        Raises:
            ResumeLogError: another process writes it, or it is about something else.
        """
        self._stream = open(path, "a+b")  # noqa: SIM115
        try:
            self._begin(path, about, anew)
        except BaseException:
            self._stream.close()
            raise

    def _begin(self, path: Path, about: Dict[str, Any], anew: bool) -> None:
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ResumeLogError(f"{path}: another run is writing this annotation") from error
        self._stream.seek(0)
        before = b"" if anew else self._next()[0]
        self.is_empty = not self._next()[0]
        self._stream.seek(0 if not before else _HEAD.size + len(before))
        began = json.loads(before) if before else {}
        if not isinstance(began, dict):
            raise ResumeLogError(f"{path}: is not of this command; give --overwrite to begin anew")
        if not before:
            self._stream.truncate(0)
            self._append(json.dumps(about).encode())
        elif began != about:
            changed = difference(began, about)
            raise ResumeLogError(
                f"{path.parent}: was begun with another {changed}; go on as it was begun, or give "
                "--overwrite to begin anew"
            )

    def read(self) -> Tuple[List[AnalysisRecord], bool]:
        """Return the next batch of an earlier run, and whether there is one."""
        content, place = self._next()
        if not content:
            self._stream.truncate(place)
            return [], False
        return _unpacked(content), True

    def _next(self) -> Tuple[bytes, int]:
        """Return the next piece, or nothing if it is not whole; and where it begins."""
        place = self._stream.tell()
        content = _piece(self._stream)
        if not content:
            self._stream.seek(place)
        return content, place

    def add(self, sights: Sequence[AnalysisRecord]) -> None:
        """Append a batch, once all earlier ones have been read."""
        self.is_empty = self.is_empty and not sights
        self._append(_packed(sights))

    def _append(self, content: bytes) -> None:
        self._stream.write(_HEAD.pack(len(content), zlib.crc32(content)) + content)
        self._stream.flush()

    def close(self) -> None:
        """Let another run have the file."""
        self._stream.close()


def is_journal(path: Path) -> bool:
    """Whether a file is a journal, or one that was just begun."""
    with suppress(OSError, ValueError), open(path, "rb") as stream:
        # Of somebody else's file no more is read than a description is long.
        return not path.stat().st_size or isinstance(json.loads(_piece(stream, 1 << 20)), dict)
    return False


def _piece(stream: BinaryIO, longest: int = 2**32) -> bytes:
    """Read the next piece; nothing if it is not whole, or longer than that."""
    head = stream.read(_HEAD.size)
    if len(head) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        content = stream.read(length) if length <= longest else b""
        if len(content) == length and zlib.crc32(content) == checksum:
            return content
    return b""


def difference(before: Dict[str, Any], now: Dict[str, Any]) -> str:
    """Say in which entries two descriptions differ."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(names)


def _packed(sights: Sequence[AnalysisRecord]) -> bytes:
    seen = [sight.seen for sight in sights if sight.seen is not None]
    columns: Dict[str, NDArray[Any]] = {}
    if seen:
        parts = zip(*((f.boxes, f.scores, f.landmarks, *prediction) for f, prediction in seen))
        columns = {name: np.concatenate(part) for name, part in zip(_ARRAYS, parts)}
    texts = [
        (
            *(*sight.header, *sight.shape, sight.error, sight.detected),
            len(sight.seen.faces) if sight.seen else -1,
        )
        for sight in sights
    ]
    columns["texts"] = np.frombuffer(json.dumps(texts).encode(), np.uint8)
    content = io.BytesIO()
    np.savez(content, **columns)  # type: ignore[arg-type]
    return content.getvalue()


def _unpacked(content: bytes) -> List[AnalysisRecord]:
    with np.load(io.BytesIO(content), allow_pickle=False) as columns:
        texts = json.loads(columns["texts"].tobytes())
        arrays = [columns[name] for name in _ARRAYS if name in columns]
    sights, begin = [], 0
    for sec, nanosec, frame_id, height, width, error, detected, count in texts:
        seen = None
        if count >= 0:
            own = [array[begin : begin + count] for array in arrays]
            seen = FrameAnalysis(Detections(*own[:3]), Prediction(*own[3:]))
            begin += count
        sights.append(
            AnalysisRecord(Stamp(sec, nanosec, frame_id), (height, width), seen, error, detected)
        )
    return sights
