"""The files of the live page, which shares charts and styles with the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, Tuple

from esr_core.report.html import asset, emotion_constants
from esr_ros.dashboard.options import HISTORY_S

_ASSETS = Path(__file__).parent / "assets"


def files() -> Dict[str, Tuple[str, str]]:
    """Return text and media type of each file by its path on the server."""
    data = json.dumps({**emotion_constants(), "duration_s": HISTORY_S, "live": True})
    script = f'"use strict";\nconst DATA = {data};\n'
    script += asset("charts.js") + asset("dashboard.js", _ASSETS)
    style = asset("page.css") + asset("dashboard.css", _ASSETS)
    return {
        "/": (asset("dashboard.html", _ASSETS), "text/html"),
        "/dashboard.js": (script, "text/javascript"),
        "/dashboard.css": (style, "text/css"),
    }
