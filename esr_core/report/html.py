"""A recording as one self-contained web page.

The page is made of the files in ``assets/``: its JavaScript draws the JSON that is embedded in it.
It loads nothing, which its Content-Security-Policy enforces. The live page of ``esr_ros`` has the
same charts and styles.
"""

from __future__ import annotations

import base64
import html
import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, Iterable, List, Optional

import cv2
import numpy as np
from numpy.typing import NDArray

from esr_core.emotions import CIRCUMPLEX, COLOURS_RGB, LABELS
from esr_core.report.summary import POINTS, FaceSummary, Recording, Sight, Summary, summarise

_ASSETS = Path(__file__).parent / "assets"
#: Maximum number of faces with charts, and their minimum time, as a share of the longest one.
_FACES, _LEAST_SEEN = 8, 0.02
#: Maximum number of rows for the other faces, of columns for the sources, and of changes.
_MORE_FACES, _FEEDS, _CHANGES = 200, 6, 40
_THUMBNAIL_PX = 128


def asset(name: str, folder: Path = _ASSETS) -> str:
    """Return the text of a file of a page, which is ASCII."""
    return (folder / name).read_text(encoding="ascii")


def emotion_constants() -> Dict[str, Any]:
    """Return the labels, colours and positions that ``charts.js`` needs."""
    return {
        "labels": LABELS,
        "colours": ["#{:02x}{:02x}{:02x}".format(*rgb) for rgb in COLOURS_RGB],
        "circumplex": [[round(float(v), 2) for v in affect] for affect in CIRCUMPLEX],
    }


def page(recording: Recording, summary: Optional[Summary] = None) -> str:
    """Return the page, in ASCII; DataError for no images, or values out of their range.

    summary: of the recording; None: computed here.
    """
    summary = summary or summarise(recording)
    data = json.dumps(_page_data(recording, summary), separators=(",", ":"), allow_nan=False)
    parts = {
        # File names may hold surrogates, which UTF-8 cannot encode.
        "TITLE": html.escape(summary.title).encode("ascii", "xmlcharrefreplace").decode(),
        "STYLE": asset("page.css"),
        "DATA": data.replace("<", "\\u003c"),  # no tags within <script>
        "SCRIPT": asset("charts.js") + asset("page.js"),
    }
    # One pass, so that inserted text is not replaced again.
    return re.sub("@(TITLE|STYLE|DATA|SCRIPT)@", lambda at: parts[at[1]], asset("page.html"))


def _page_data(recording: Recording, summary: Summary) -> Dict[str, Any]:
    """Return the input of the page's JavaScript."""
    least_s = _LEAST_SEEN * summary.faces[0].seen_s if summary.faces else 0.0
    shown = [face for face in summary.faces[:_FACES] if face.seen_s >= least_s]
    changes = sorted(summary.changes, key=lambda change: -change.face.confidence)[:_CHANGES]
    changes.sort(key=lambda change: change.at_s)
    sights = [*(face.best for face in shown), *((each.frame, each.face) for each in changes)]
    pictures = _thumbnails(recording, sights)
    # Other stamps count from the start of a file.
    is_date = 1e8 < summary.began_s < 1e10
    began = datetime.fromtimestamp(summary.began_s if is_date else 0, timezone.utc)
    figures = summary.as_json()
    feeds, faces = figures["feeds"], figures["faces"]
    worst = max(feeds, key=lambda feed: feed["longest_s"] or 0)
    return {
        **figures,
        "longest_s": worst["longest_s"],
        "longest_at_s": worst["longest_at_s"],
        "feeds": feeds[:_FEEDS],
        "more_feeds": len(feeds[_FEEDS:]),
        "began": f"{began:%Y-%m-%d %H:%M:%S} UTC" if is_date else None,
        **emotion_constants(),
        "points": POINTS,
        "thinned": any(face.images > len(face.series.times_s) for face in shown),
        "faces": [
            {**_charts(face), "picture": pictures.get(face.best), **figures_of_face}
            for face, figures_of_face in zip(shown, faces)
        ],
        "more_faces": faces[len(shown) :][:_MORE_FACES],
        "faces_in_all": len(faces),
        "changes": [
            {**each.as_json(), "picture": pictures.get((each.frame, each.face))} for each in changes
        ],
        "changes_in_all": len(summary.changes),
    }


def _charts(face: FaceSummary) -> Dict[str, Any]:
    """Return the values of a face as integers: in ms, and in thousandths."""
    series = face.series
    return {
        "series": {
            "t": _thousandths(series.times_s),
            "p": _thousandths(series.probabilities),
            "v": _thousandths(series.affect[:, 0]),
            "a": _thousandths(series.affect[:, 1]),
            "labels": series.labels.tolist(),
            "breaks": series.breaks.tolist(),
        },
        "segments": [
            [round(start_s * 1000), round(end_s * 1000), label]
            for start_s, end_s, label in face.segments
        ],
    }


def _thousandths(values: NDArray[np.float64]) -> List[int]:
    return [int(value) for value in np.rint(values.ravel() * 1000)]


def _thumbnails(recording: Recording, sights: Iterable[Sight]) -> Dict[Sight, str]:
    """Return pictures as data URIs."""
    pictures: Dict[Sight, str] = {}
    if recording.thumbnail is None:
        return pictures
    for sight in sorted(sights, key=lambda each: each[0].stamp_s):
        rgb = None if sight in pictures else recording.thumbnail(*sight)
        if rgb is not None and rgb.size:
            pictures[sight] = _data_uri(rgb)
    return pictures


def _data_uri(rgb: NDArray[np.uint8]) -> str:
    """Return a picture (h, w, 3) as a small JPEG."""
    height, width = rgb.shape[:2]
    scale = min(_THUMBNAIL_PX / max(height, width), 1.0)
    size_px = max(round(width * scale), 1), max(round(height * scale), 1)
    small = cv2.resize(rgb[..., ::-1], size_px, interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
