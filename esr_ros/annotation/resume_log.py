"""The resume log: the analyses of an unfinished annotation, from which a later run continues."""

from __future__ import annotations

import fcntl
import io
import json
import struct
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Dict, List, Optional, Sequence

import numpy as np

from esr_core.errors import EsrError
from esr_core.inference.onnx_model import Prediction
from esr_core.perception.detection import Detections
from esr_core.pipeline import FrameAnalysis
from esr_ros.annotation.executors import AnalysisRecord, ImageHeader

#: Length and checksum of the piece that follows.
_HEAD = struct.Struct("<II")
_ARRAYS = ("boxes", "scores", "landmarks", "probabilities", "affect", "votes")


class ResumeLogError(EsrError):
    """A log that another run writes, or that is of another annotation."""


class ResumeLog:
    """Batches of records in the order of the bag; each is on the disk once it is added.

    The file begins with the description of the annotation. A batch at its end that a killed run
    left unfinished is dropped.
    """

    def __init__(self, path: Path, description: Dict[str, Any], restart: bool = False) -> None:
        """Open or create the file; restart: drop the batches of an earlier run.

        Raises ResumeLogError if another process writes it, or it is of another annotation.
        """
        with ExitStack() as stack:  # closed again after an error
            self._stream = stack.enter_context(open(path, "a+b"))
            try:
                fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ResumeLogError(f"{path}: another run is writing this annotation") from error
            self._stream.seek(0)
            content = b"" if restart else _next_piece(self._stream)
            before = json.loads(content or "{}")
            if not content:
                self._stream.truncate(0)
                self._append(json.dumps(description).encode())
            elif before != description:
                raise ResumeLogError(
                    f"{path.parent}: was started with another {difference(before, description)}; "
                    "continue with the same options, or give --overwrite to start over"
                )
            begin = self._stream.tell()
            self.is_empty = not _next_piece(self._stream)
            self._stream.seek(begin)
            stack.pop_all()

    def read(self) -> Optional[List[AnalysisRecord]]:
        """Return the next batch of an earlier run; None after the last one."""
        begin = self._stream.tell()
        content = _next_piece(self._stream)
        if not content:
            self._stream.seek(begin)
            self._stream.truncate()
            return None
        return _unpacked(content)

    def add(self, records: Sequence[AnalysisRecord]) -> None:
        """Append a batch, once all earlier ones have been read."""
        self.is_empty = self.is_empty and not records
        self._append(_packed(records))

    def _append(self, content: bytes) -> None:
        self._stream.write(_HEAD.pack(len(content), zlib.crc32(content)) + content)
        self._stream.flush()

    def close(self) -> None:
        """Close and unlock the file."""
        self._stream.close()


def is_resume_log(path: Path) -> bool:
    """Return whether a file is a resume log, or the empty file of a run that just began."""
    with suppress(OSError, ValueError), open(path, "rb") as stream:
        # The limit is for files of a user.
        is_empty = not path.stat().st_size
        return is_empty or isinstance(json.loads(_next_piece(stream, 1 << 20)), dict)
    return False


def difference(before: Dict[str, Any], now: Dict[str, Any]) -> str:
    """Return the entries in which two descriptions differ, separated by commas."""
    return ", ".join(name for name in {**before, **now} if before.get(name) != now.get(name))


def _next_piece(stream: BinaryIO, longest: int = 2**32) -> bytes:
    """Return the next piece; nothing if it is incomplete or longer than that."""
    head = stream.read(_HEAD.size)
    if len(head) == _HEAD.size:
        length, checksum = _HEAD.unpack(head)
        content = stream.read(length) if length <= longest else b""
        if len(content) == length and zlib.crc32(content) == checksum:
            return content
    return b""


def _packed(records: Sequence[AnalysisRecord]) -> bytes:
    texts, parts = [], []
    for header, shape, analysis, error, detected in records:
        counts = (-1, 0)  # of faces and of those left out; -1: no analysis
        if analysis is not None:
            faces, prediction, left_out = analysis
            counts = (len(faces), left_out)
            parts.append((faces.boxes, faces.scores, faces.landmarks, *prediction))
        texts.append((*header, *shape, error, detected, *counts))
    columns: Dict[str, Any] = {
        name: np.concatenate(part) for name, part in zip(_ARRAYS, zip(*parts))
    }
    content = io.BytesIO()
    np.savez(content, texts=np.frombuffer(json.dumps(texts).encode(), np.uint8), **columns)
    return content.getvalue()


def _unpacked(content: bytes) -> List[AnalysisRecord]:
    with np.load(io.BytesIO(content), allow_pickle=False) as columns:
        texts = json.loads(columns["texts"].tobytes())
        arrays = [columns[name] for name in _ARRAYS if name in columns]
    records, begin = [], 0
    for sec, nanosec, frame_id, height, width, error, detected, count, left_out in texts:
        analysis = None
        if count >= 0:
            own = [array[begin : begin + count] for array in arrays]
            analysis = FrameAnalysis(Detections(*own[:3]), Prediction(*own[3:]), left_out)
            begin += count
        header = ImageHeader(sec, nanosec, frame_id)
        records.append(AnalysisRecord(header, (height, width), analysis, error, detected))
    return records
