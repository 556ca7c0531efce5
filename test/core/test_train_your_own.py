"""``examples/train_your_own.ipynb``: its code, in one process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "train_your_own.ipynb"
#: ``!command {name}`` is a shell command with values of Python.
SHELL = re.compile(r"^!(.*)$", re.M)


def test_notebook_trains_and_the_network_learns(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in code)
    script = "\n".join("".join(cell["source"]) for cell in code)
    run = r'print(subprocess.check_output(f"""\1""", shell=True, text=True), flush=True)'
    done = subprocess.run(
        [sys.executable, "-c", "import subprocess\n" + SHELL.sub(run, script)],
        cwd=NOTEBOOK.parent,
        env={**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, after = map(float, re.findall(r"on 16 images: ([\d.]+)%", done.stdout))
    assert before < after > 75
    assert re.search(r"macro F1 [\d.]+ of 2 emotions with faces", done.stdout)
    assert re.search(r"^happy \d+%$", done.stdout, re.M)
