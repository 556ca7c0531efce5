"""A recording as one web page, which needs nothing but a browser.

The page is made of the files in ``page/``: its JavaScript draws what is in the JSON that is laid
into it. Nothing is fetched, and a browser is told not to (Content-Security-Policy).
"""

from __future__ import annotations

import base64
import html
import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import CIRCUMPLEX, COLOURS_RGB, LABELS
from esr_core.media.records import FaceRecord, FrameRecord
from esr_core.report.recording import Recording
from esr_core.report.summary import POINTS, Change, FaceSummary, Summary, summarise
from esr_core.report.time_series import Series

_PAGE = Path(__file__).parent / "assets"
#: Faces with pictures of their own, and of how much of the longest one's time at least.
_FACES, _LEAST_SEEN = 8, 0.02
#: Lines of the table of the other faces, and columns of that of the sources.
_MORE_FACES, _FEEDS = 200, 6
_CHANGES = 40
_THUMBNAIL_PX = 128
_EPOCH_S = 1e8, 1e10  # stamps that are a time of day; others count from the start of a file


def page(recording: Recording, summary: Optional[Summary] = None) -> str:
    """Return the page, in ASCII.

    summary: that of the recording, if it is there already.

    Raises:
        DataError: the recording has no images, or values out of their range.
    """
    summary = summary or summarise(recording)
    told = json.dumps(_told(recording, summary), separators=(",", ":"), allow_nan=False)
    parts = {
        # A file's name may hold what is no text in UTF-8.
        "TITLE": html.escape(summary.title).encode("ascii", "xmlcharrefreplace").decode(),
        "STYLE": _read("page.css"),
        # Within <script> nothing may look like a tag.
        "DATA": told.replace("<", "\\u003c"),
        "SCRIPT": _read("charts.js") + _read("page.js"),
    }
    # In one pass: what was put in is not looked at again.
    return re.sub("@(TITLE|STYLE|DATA|SCRIPT)@", lambda at: parts[at[1]], _read("page.html"))


def _read(name: str) -> str:
    return (_PAGE / name).read_text(encoding="ascii")


def _told(recording: Recording, summary: Summary) -> Dict[str, Any]:
    """Return what the page's JavaScript is told."""
    least_s = _LEAST_SEEN * summary.faces[0].seen_s if summary.faces else 0.0
    shown = [face for face in summary.faces[:_FACES] if face.seen_s >= least_s]
    changes = _surest(summary.changes)
    pictures = _thumbnails(recording, shown, changes)
    more = summary.faces[len(shown) :]
    return {
        **summary.as_json(),
        "feeds": [feed.as_json() for feed in summary.feeds[:_FEEDS]],
        "more_feeds": len(summary.feeds[_FEEDS:]),
        "began": _date(summary.began_s),
        "labels": LABELS,
        "colours": ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in COLOURS_RGB],
        "circumplex": [[round(float(v), 2) for v in place] for place in CIRCUMPLEX],
        "points": POINTS,
        "thinned": any(face.images > len(face.series.times_s) for face in shown),
        "faces": [
            {**_drawn(face), "picture": pictures.get(_key(*face.best)), **face.as_json()}
            for face in shown
        ],
        "more_faces": [face.as_json() for face in more[:_MORE_FACES]],
        "faces_in_all": len(summary.faces),
        "changes": [
            {**each.as_json(), "picture": pictures.get(_key(each.frame, each.sighting))}
            for each in changes
        ],
        "changes_in_all": len(summary.changes),
    }


def _drawn(face: FaceSummary) -> Dict[str, Any]:
    """Return what a face showed, as whole numbers: in ms, and in thousandths."""
    series: Series = face.series
    return {
        "series": {
            "t": _thousandths(series.times_s),
            "p": _thousandths(series.probabilities),
            "v": _thousandths(series.affect[:, 0]),
            "a": _thousandths(series.affect[:, 1]),
            "labels": series.labels.tolist(),
            "breaks": series.breaks.tolist(),
        },
        "runs": [
            [round(run.start_s * 1000), round(run.end_s * 1000), run.label] for run in face.runs
        ],
    }


def _thousandths(values: NDArray[np.float64]) -> List[int]:
    numbers: List[int] = np.rint(values.ravel() * 1000).astype(np.int64).tolist()
    return numbers


def _surest(changes: Sequence[Change]) -> List[Change]:
    """Return those with the highest confidence, still in order of time."""
    surest = sorted(changes, key=lambda change: -change.sighting.confidence)[:_CHANGES]
    return sorted(surest, key=lambda change: change.at_s)


def _date(stamp_s: float) -> Optional[str]:
    if not _EPOCH_S[0] < stamp_s < _EPOCH_S[1]:
        return None
    return datetime.fromtimestamp(stamp_s, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _key(frame: FrameRecord, sighting: FaceRecord) -> Tuple[str, float, int]:
    return frame.source, frame.stamp_s, sighting.face_id


def _thumbnails(
    recording: Recording, faces: Sequence[FaceSummary], changes: Sequence[Change]
) -> Dict[Tuple[str, float, int], str]:
    """Return pictures of the faces, and of what they changed to, as data URIs."""
    if recording.thumbnail is None:
        return {}
    wanted = [*(face.best for face in faces), *((each.frame, each.sighting) for each in changes)]
    pictures: Dict[Tuple[str, float, int], str] = {}
    for frame, sighting in sorted(wanted, key=lambda each: each[0].stamp_s):
        key = _key(frame, sighting)
        rgb = None if key in pictures else recording.thumbnail(frame, sighting)
        if rgb is not None and rgb.size:
            pictures[key] = _data_uri(rgb)
    return pictures


def _data_uri(rgb: NDArray[np.uint8]) -> str:
    """Return a picture (h, w, 3) as a small JPEG."""
    height, width = rgb.shape[:2]
    scale = min(_THUMBNAIL_PX / max(height, width), 1.0)
    size_px = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(rgb[..., ::-1], size_px, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
