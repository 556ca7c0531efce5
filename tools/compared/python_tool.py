"""Evaluate pictures for ``tools/compare.py``: ``python_tool.py esr=256|fer``.

Runs in the environment of the tool. Reads JSON lines from stdin: file of RGB values, width, height.
Writes one JSON line to stdout when the tool is loaded, and one per picture: the label of the
largest face, or null, and the milliseconds of processor time, which other programs hardly lengthen.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from typing import Any, Callable, Optional, Tuple

import numpy as np

Predictor = Callable[[Any], Optional[str]]


def open_esr(size_px: str) -> Tuple[str, Predictor]:
    """Return the name of this package and the emotion of a picture's largest face."""
    from esr_core import EmotionPipeline, PipelineOptions

    options = PipelineOptions(smoothing_s=0.0, hysteresis=0.0, detection_size_px=int(size_px))
    pipeline = EmotionPipeline(options)

    def predict(rgb: Any) -> Optional[str]:
        faces = pipeline.step(rgb, stamp_s=time.monotonic())
        return faces[0].label if faces else None  # the largest comes first

    return f"esr ({pipeline.model.metadata.name})", predict


def open_fer(_: str) -> Tuple[str, Predictor]:
    """Return the name of the package fer and the emotion of a picture's largest face."""
    from fer.fer import FER

    tool = FER()  # its defaults: a Haar cascade, and the network in 8 bits

    def predict(rgb: Any) -> Optional[str]:
        faces = tool.detect_emotions(np.ascontiguousarray(rgb[..., ::-1]))  # it takes BGR
        if not faces:
            return None
        emotions = max(faces, key=lambda face: face["box"][2] * face["box"][3])["emotions"]
        return str(max(emotions, key=emotions.get))

    return f"fer {version('fer')}", predict


def main() -> None:
    tool, _, option = sys.argv[1].partition("=")
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the libraries print to stdout, too
    name, predict = {"esr": open_esr, "fer": open_fer}[tool](option)
    print(json.dumps({"name": name}), file=results, flush=True)
    for line in sys.stdin:
        path, width, height = json.loads(line)
        rgb = np.fromfile(path, np.uint8).reshape(height, width, 3)
        start = time.process_time()
        label = predict(rgb)
        ms = (time.process_time() - start) * 1e3
        print(json.dumps({"label": label, "ms": ms}), file=results, flush=True)


if __name__ == "__main__":
    main()
