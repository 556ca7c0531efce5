"""The output of a training: a bar on a terminal, and permanent lines."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Callable

MakeFerPlus = Callable[[str, int], Path]
COMMAND = "esr train --out out --branches 1 --stages 54x2 --batch-size 8 --data"


def in_terminal(command: list[str], folder: Path, columns: int) -> list[str]:
    """Run a command in a terminal of that width; return all lines that it printed."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command,
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": str(columns), "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the end of a terminal on Linux
            pass
        assert process.wait(60) == 0, shown.decode()
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())  # colours
    lines = re.split(r"[\r\n]+|\x1b\[[0-9;?]*[A-Za-z]", text)  # and cursor movements
    return [line.strip() for line in lines if line.strip()]


def test_bar_has_rate_and_time_left_on_one_line_of_80(
    tmp_path: Path, make_ferplus: MakeFerPlus
) -> None:
    for name in ("train.npz.xz", "valid.npz.xz"):
        make_ferplus(name, 24)
    lines = in_terminal([*COMMAND.split(), str(tmp_path)], tmp_path, 80)
    assert all(len(line) <= 80 for line in lines[:-1] if "left" in line)
    bar = r"joint, epoch 2/2, 54 px, loss \d\.\d{3} \S+ +\d+% [\d.]+ faces/s \d\d:\d\d left"
    assert any(re.fullmatch(bar, line) for line in lines), lines
    assert any("54 px, validating, 100%" in line for line in lines), lines
    stays = r"joint, epoch 1 of 2 at 54 px: loss \d\.\d+, validation accuracy [\d.]+% \(24 images\)"
    assert any(re.fullmatch(stays, line) for line in lines), lines
    assert "weights, history.csv and curves.png in out" in lines[-1]


def test_log_file_gets_no_bar(tmp_path: Path, make_ferplus: MakeFerPlus) -> None:
    for name in ("train.npz.xz", "valid.npz.xz"):
        make_ferplus(name, 8)
    done = subprocess.run(
        [*COMMAND.split(), str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "faces/s" not in done.stderr + done.stdout
    assert done.stderr.count("\n") == 2
