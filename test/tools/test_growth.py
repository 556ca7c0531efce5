"""``tools/growth.py`` as a command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GROWTH = Path(__file__).parents[2] / "tools" / "growth.py"


def test_outputs_are_checked_before_the_work(tmp_path: Path) -> None:
    for flag, path in (("--plot", tmp_path / "gone" / "a.png"), ("--json", tmp_path)):
        command = [sys.executable, str(GROWTH), flag, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert f"error: {path} must be a file in a folder that exists" in done.stderr
