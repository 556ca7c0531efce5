"""The shipped networks in the oldest and the newest ONNX Runtime that PyPI has for this Python.

``tools/setup.sh`` installs both into folders beside the environment's own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest

RUNTIMES = Path(sys.prefix) / "onnxruntime"
PROGRAM = """
import json
import numpy as np
import onnxruntime
import skimage.data
from esr_core import load_model
from esr_core.inference.face_detector import open_detector
from esr_core.perception.preprocessing import crop
image = skimage.data.astronaut()
faces = open_detector().detect(image, 256)
model = load_model(provider="cpu", threads=1)
batch = crop(image, np.array([[178, 63, 267, 175]], np.float32), model.metadata.input)
answers = {branches: model.predict(batch, branches) for branches in (0, 1, "adaptive")}
print(json.dumps({
    "version": onnxruntime.__version__,
    "boxes": faces.boxes.tolist(),
    "bits": {str(b): [part.tobytes().hex() for part in a] for b, a in answers.items()},
}))
"""


def answer(folder: Path | None, cwd: Path) -> Dict[str, Any]:
    path = os.pathsep.join(filter(None, [folder and str(folder), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    content: Dict[str, Any] = json.loads(done.stdout)
    return content


@pytest.mark.parametrize("age", ["oldest", "newest"])
def test_shipped_networks_give_the_same_answers(tmp_path: Path, age: str) -> None:
    ours, other = answer(None, tmp_path), answer(RUNTIMES / age, tmp_path)
    assert other["version"] != ours["version"] or age == "newest"
    assert other["bits"] == ours["bits"]
    np.testing.assert_allclose(other["boxes"], ours["boxes"], atol=0.01)
