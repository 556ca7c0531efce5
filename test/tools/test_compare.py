"""The comparison with other tools, on made-up faces and with a made-up package fer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

TOOL = Path(__file__).resolve().parents[2] / "tools" / "compare.py"
#: A package with fer's interface: three faces, of which the largest is angry; then none.
FER = """
class FER:
    calls = 0
    def detect_emotions(self, bgr):
        assert bgr.shape == (480, 640, 3) and bgr.dtype == "uint8"
        FER.calls += 1
        print("a library may print")
        names = ("happy", "angry", "surprise")
        faces = [{"box": (0, 0, side, side), "emotions": {"sad": 0.1, name: 0.8}}
                 for side, name in zip((20, 30, 10), names)]
        return faces if FER.calls < 4 else []
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three smiling faces, and noise with votes for contempt, in FER+'s form."""
    grey = cv2.cvtColor(skimage.data.astronaut(), cv2.COLOR_RGB2GRAY)
    crops = [grey[40:215, x : x + 175] for x in (130, 134, 138)]
    faces = [cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA) for crop in crops]
    noise = np.random.default_rng(7).integers(0, 255, (48, 48), np.uint8)
    votes = np.zeros((4, 10), np.uint8)
    votes[:3, 1] = votes[3, 7] = 10
    path = tmp_path_factory.mktemp("data") / "valid.npz"
    np.savez(path, images=np.stack([*faces, noise]), votes=votes)
    return path


def compare(*arguments: object, path: object = "") -> subprocess.CompletedProcess[str]:
    """Run the tool; ``path`` is a folder of further packages."""
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{path}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the only line of a run that failed."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_faces_that_are_not_found_count_as_wrong_and_missing_tools_are_named(data: Path) -> None:
    done = compare(data)
    assert done.returncode == 0, done.stderr
    assert "4 faces, 1 of them contempt" in done.stdout
    (row,) = (
        line for line in done.stdout.splitlines() if line.startswith("| esr ") and "%" in line
    )
    assert row.startswith(
        "| esr (ESR-9-ferplus) | 75.0 % | 75.0 % (30.1 to 95.4) | 100.0 % | 100.0 % | 0.50 | 1.00 |"
    )
    fer, face_api = done.stderr.splitlines()
    assert fer.startswith("compare: fer was not measured. To install it: python -m venv fer")
    assert face_api.startswith("compare: face-api was not measured. To install it: npm install")


def test_another_tool_is_measured_in_an_interpreter_of_its_own(data: Path, tmp_path: Path) -> None:
    (tmp_path / "fer").mkdir()
    (tmp_path / "fer" / "__init__.py").touch()
    (tmp_path / "fer" / "fer.py").write_text(FER, "utf-8")
    (tmp_path / "fer-1.2.dist-info").mkdir()
    (tmp_path / "fer-1.2.dist-info" / "METADATA").write_text("Name: fer\nVersion: 1.2\n", "utf-8")
    done = compare(data, "--faces", 3, "--fer", sys.executable, path=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| fer 1.2 |")]
    assert rows[0].startswith("| fer 1.2 | 66.7 % | 0.0 % (0.0 to 56.2) | 0.0 % | ")
    assert rows[1].startswith("| fer 1.2 | MIT | ")


def test_a_tool_that_does_not_start_is_one_line(data: Path, tmp_path: Path) -> None:
    missing = tmp_path / "python"
    assert refusal(compare(data, "--fer", missing)) == (
        f"compare: fer: {missing}: No such file or directory"
    )
    assert refusal(compare(data, "--fer", sys.executable)) == (
        "compare: fer: it ended early (ModuleNotFoundError: No module named 'fer')"
    )
    assert "no such file; FER+ is not part of" in refusal(compare(tmp_path / "none.npz"))
