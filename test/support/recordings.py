"""Synthetic recordings: faces that appear, disappear, and change their emotion."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import LABELS, affect_of
from esr_core.media.records import CsvWriter, FaceRecord, FrameRecord

#: Intervals in which a face is visible, and starts of its emotions, in shares of the recording.
Part = tuple[Sequence[tuple[float, float]], Sequence[tuple[float, str]]]

PARTS: dict[int, Part] = {
    1: (
        [(0, 1)],
        [(0, "neutral"), (0.12, "happy"), (0.3, "neutral"), (0.45, "surprise"), (0.52, "happy"),
         (0.78, "neutral"), (0.9, "happy")],
    ),
    2: (
        [(0.05, 0.4), (0.5, 0.83), (0.86, 0.97)],
        [(0, "neutral"), (0.2, "sad"), (0.36, "neutral"), (0.6, "anger"), (0.7, "disgust"),
         (0.76, "contempt"), (0.88, "neutral")],
    ),
    5: ([(0.33, 0.74)], [(0, "surprise"), (0.42, "fear"), (0.5, "neutral"), (0.62, "happy")]),
}  # fmt: skip


def record(
    face_id: int, probabilities: NDArray[np.float64], label: int | None = None
) -> FaceRecord:
    """Return the record of a face with these probabilities (8,)."""
    named = int(probabilities.argmax()) if label is None else label
    ((valence, arousal),) = affect_of(probabilities[None].astype(np.float32)).tolist()
    return FaceRecord(
        face_id=face_id,
        box=(40.0 * face_id, 60.0, 80.0, 100.0),
        score=0.9,
        label=LABELS[named],
        confidence=round(float(probabilities[named]), 4),
        probabilities=tuple(round(float(p), 4) for p in probabilities),
        valence=round(valence, 4),
        arousal=round(arousal, 4),
        agreement=0.8889,
    )


def showing(face_id: int, label: str, confidence: float = 0.65) -> FaceRecord:
    """Return the record of a face with one emotion, and small shares of the others."""
    probabilities = np.full(8, (1 - confidence) / 7)
    probabilities[LABELS.index(label)] = confidence
    return record(face_id, probabilities)


def probabilities_of(part: Part, times: NDArray[np.float64], fade: float) -> NDArray[np.float64]:
    """Return emotions (n, 8) at times in [0, 1], with changes of about ``fade``, and noise."""
    random = np.random.default_rng(len(part[1]))
    changes = [(at, LABELS.index(label)) for at, label in part[1]]
    goal = np.full((len(times), 8), -1.2) + np.linspace(1, -0.2, 8)
    for (at, label), (end, _) in zip(changes, [*changes[1:], (2.0, 0)]):
        rise, fall = (np.tanh((times - edge) / fade) / 2 for edge in (at or -1, end))
        goal[:, label] += 3.6 * (rise - fall)
    step = np.linspace(-4, 4, max(min(len(times) // 4, 61), 3))
    kernel = np.exp(-(step**2) / 2)
    noise = random.normal(0, 1.2, goal.shape)
    for column in noise.T:
        column[:] = np.convolve(column, kernel / np.sqrt((kernel**2).sum()), "same")[: len(times)]
    weights = np.exp(goal + 0.5 * noise)
    likely: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return likely


def made_up(
    duration_s: float = 60.0,
    rate_hz: float = 30.0,
    source: str = "camera/image_raw",
    began_s: float = 1_700_000_000.0,
    parts: dict[int, Part] = PARTS,
) -> list[FrameRecord]:
    """Return a recording of some faces, with dropped images and a gap of a second."""
    count = round(duration_s * rate_hz)
    times = np.arange(count) / count
    kept = (np.random.default_rng(3).random(count) > 0.02) & ~((times > 0.66) & (times < 0.68))
    tables = {face: probabilities_of(part, times, 0.012) for face, part in parts.items()}
    labels = {face: steady(table) for face, table in tables.items()}
    frames = []
    for i in np.flatnonzero(kept):
        here = [
            record(face, tables[face][i], labels[face][i])
            for face, part in parts.items()
            if any(start <= times[i] < end for start, end in part[0])
        ]
        frames.append(FrameRecord(source, int(i), began_s + i / rate_hz, tuple(here)))
    return frames


def steady(probabilities: NDArray[np.float64], hysteresis: float = 0.1) -> list[int]:
    """Return labels that change when another emotion leads by ``hysteresis``."""
    named = int(probabilities[0].argmax())
    labels = []
    for row in probabilities:
        if row.max() - row[named] >= hysteresis:
            named = int(row.argmax())
        labels.append(named)
    return labels


def write(path: Path, frames: Iterable[FrameRecord]) -> Path:
    """Write a CSV file."""
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = CsvWriter(stream)
        for frame in frames:
            writer.write(frame)
    return path
