"""The statistics of a recording."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from recordings import made_up, showing

from esr_core.emotions import LABELS
from esr_core.errors import DataError
from esr_core.media.records import FrameRecord
from esr_core.report.summary import POINTS, Recording, Series, Summary, summarise

HAPPY, SAD = LABELS.index("happy"), LABELS.index("sad")


def frame(stamp_s: float, *faces: tuple[int, str], source: str = "camera") -> FrameRecord:
    records = tuple(showing(face, label) for face, label in faces)
    return FrameRecord(source, round(stamp_s * 10), stamp_s, records)


def summarised(frames: list[FrameRecord], **more: Any) -> Summary:
    return summarise(Recording("made up", frames, **more))


def ten_seconds() -> list[FrameRecord]:
    """10 Hz from 100 s on: face 3 is happy for 4 s, absent for 2 s, sad for 4; face 8 is short."""
    frames = []
    for i in range(100):
        faces = [] if 40 <= i < 60 else [(3, "happy" if i < 40 else "sad")]
        frames.append(frame(100 + i / 10, *faces, *([(8, "fear")] if i < 10 else [])))
    return frames


def test_shares_of_each_emotion() -> None:
    summary = summarised(ten_seconds())
    assert (summary.images, summary.without_face) == (100, 20)
    assert (summary.began_s, summary.duration_s) == (100, pytest.approx(9.9))
    face, short = summary.faces
    assert (face.face_id, face.images, short.face_id, short.images) == (3, 80, 8, 10)
    assert (face.first_s, face.last_s) == (0, pytest.approx(9.9))
    assert face.seen_s == pytest.approx(8)
    assert {each.label: each.share for each in face.shares if each.images} == pytest.approx(
        {"happy": 0.5, "sad": 0.5}
    )
    assert [each.label for each in face.shares] == list(LABELS)
    overall = {each.label: (each.time_s, each.images) for each in summary.shares if each.images}
    assert overall["fear"] == (pytest.approx(1), 10)
    assert overall["happy"] == (pytest.approx(4), 40)
    assert sum(each.share for each in summary.shares) == pytest.approx(1)


def test_gaps_separate_values_and_segments() -> None:
    (face, _) = summarised(ten_seconds()).faces
    assert face.series.breaks.tolist() == [40]
    assert [(each.start_s, each.end_s, each.label) for each in face.segments] == [
        (0, pytest.approx(4), HAPPY),
        (pytest.approx(6), pytest.approx(10), SAD),
    ]


def test_changes_keep_their_time() -> None:
    summary = summarised(ten_seconds())
    (change,) = summary.changes
    assert (change.before, change.face.label) == ("happy", "sad")
    assert change.at_s == pytest.approx(6)
    assert change.frame.number == 1060
    assert summary.as_json()["changes"] == [
        {"at_s": 6.0, "source": "camera", "face_id": 3, "before": "happy", "after": "sad"}
        | {"confidence": 0.65}
    ]


def test_time_counts_and_not_images() -> None:
    """A camera that slows down: 1 s with ten images is as much as 1 s with five."""
    stamps_s = [*np.arange(10) / 10, *(1 + np.arange(5) / 5)]
    frames = [frame(at, (1, "happy" if at < 1 else "sad")) for at in stamps_s]
    (face,) = summarised(frames).faces
    happy, sad = face.shares[HAPPY], face.shares[SAD]
    assert (happy.images, sad.images) == (10, 5)
    assert happy.time_s == pytest.approx(1)
    assert sad.time_s == pytest.approx(0.9)  # the last image stands for the usual 0.1 s


def test_each_source_has_ids_of_its_own() -> None:
    frames = [
        frame(i / 10, (1, label), source=source)
        for i in range(20)
        for source, label in (("left", "happy"), ("right", "sad"))
    ]
    summary = summarised(frames)
    assert [(face.source, face.images) for face in summary.faces] == [("left", 20), ("right", 20)]
    assert [(feed.source, feed.images) for feed in summary.feeds] == [("left", 20), ("right", 20)]
    assert summary.changes == ()
    assert summary.gap_s == 0.5


def test_drops_and_latency() -> None:
    frames = [frame(i / 10) for i in (*range(50), *range(62, 100))]
    latencies_s = np.append(np.arange(101) / 1000, np.nan)
    summary = summarised(frames, offered=100, latencies_s=latencies_s)
    (feed,) = summary.feeds
    assert feed.rate_hz == pytest.approx(87 / 9.9)
    assert (feed.images, feed.without_face, feed.gaps) == (88, 88, 1)
    assert (feed.longest_s, feed.longest_at_s) == (pytest.approx(1.3), pytest.approx(4.9))
    assert (summary.offered, summary.unanswered) == (100, 12)
    assert summary.latencies_s == pytest.approx({"p50": 0.05, "p99": 0.099, "max": 0.1})


def test_unknown_values_are_none() -> None:
    summary = summarised([frame(5.0, (1, "happy"))], latencies_s=np.array([]))
    assert (summary.offered, summary.unanswered, summary.latencies_s) == (None, None, None)
    (feed,) = summary.feeds
    assert (feed.rate_hz, feed.longest_s, feed.gaps) == (None, None, 0)
    assert summarised(ten_seconds(), offered=60).unanswered is None  # fewer images than results


def test_a_single_image() -> None:
    summary = summarised([frame(5.0, (1, "happy"), (2, "sad"))])
    assert (summary.duration_s, len(summary.faces)) == (0, 2)
    assert summary.shares[HAPPY].share == summary.shares[SAD].share == 0.5


def test_images_in_another_order_are_the_same_recording() -> None:
    frames = ten_seconds()
    assert summarised(frames[::-1]).as_json() == summarised(frames).as_json()


def test_long_series_are_thinned_and_the_rest_is_exact() -> None:
    frames = [
        frame(i / 30, *([(1, "happy" if i < 7001 else "sad")] if not 4000 <= i < 5000 else []))
        for i in range(10_000)
    ]
    (face,) = summarised(frames).faces
    series = face.series
    assert POINTS / 2 < len(series.times_s) <= POINTS
    (gap,) = series.breaks
    assert series.times_s[gap - 1] == pytest.approx(4000 / 30, abs=0.2)
    assert series.times_s[gap] == pytest.approx(5000 / 30, abs=0.2)
    np.testing.assert_allclose(series.probabilities[series.labels == HAPPY, HAPPY][:-1], 0.65)
    np.testing.assert_allclose(series.probabilities.sum(axis=1), 1, atol=1e-3)
    assert face.changes[0].at_s == pytest.approx(7001 / 30)
    assert [each.start_s for each in face.segments] == pytest.approx([0, 5000 / 30, 7001 / 30])
    assert face.images == 9000


def test_thinning_takes_means() -> None:
    records = [showing(1, "happy", 0.4 + 0.2 * (i % 2)) for i in range(100)]
    series = Series.of(np.arange(100) / 10, records, 1.0).thinned(10)
    np.testing.assert_allclose(series.times_s, np.arange(10) + 0.45)
    np.testing.assert_allclose(series.probabilities[:, HAPPY], 0.5)


def test_a_flickering_label_makes_a_limited_number_of_segments() -> None:
    labels = ["happy", "sad"]
    (face,) = summarised([frame(i / 10, (1, labels[i % 2])) for i in range(6000)]).faces
    assert len(face.changes) == 5999
    assert len(face.segments) <= POINTS


def test_made_up_recording_is_consistent() -> None:
    summary = summarised(made_up())
    assert [face.face_id for face in summary.faces] == [1, 2, 5]
    assert 10 < len(summary.changes) < 40
    assert all(each.images == sum(s.images for s in each.shares) for each in summary.faces)


def test_recording_without_images_or_faces() -> None:
    with pytest.raises(DataError, match="made up: contains no images"):
        summarised([])
    assert summarised([frame(0.0), frame(1.0)]).faces == ()


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("probabilities", (float("nan"),) * 8, "the probabilities must be 0 to 1"),
        ("confidence", 1.5, "the probabilities must be 0 to 1"),
        ("valence", -2.0, "valence and arousal must be -1 to 1"),
        ("arousal", float("inf"), "valence and arousal must be -1 to 1"),
    ],
)
def test_values_out_of_range(field: str, value: Any, text: str) -> None:
    good = frame(7.0, (4, "happy"))
    bad = replace(good, faces=(replace(good.faces[0], **{field: value}),))
    with pytest.raises(DataError, match=f"image 70 of camera, face 4: {text}"):
        summarised([frame(0.0), bad])


@pytest.mark.parametrize("stamp_s", [float("nan"), float("inf"), 1e300])
def test_stamps_out_of_range(stamp_s: float) -> None:
    with pytest.raises(DataError, match="image 0 of camera: the stamp must be a number of seconds"):
        summarised([frame(1.0), FrameRecord("camera", 0, stamp_s, ())])
