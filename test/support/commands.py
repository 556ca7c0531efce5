"""The command `esr`, run as a process."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Dict, List

# Each command is a fork of one process that has imported what commands import: with PyTorch that
# takes two seconds, and there are hundreds of commands. Tests of how the program starts, and of
# signals, start it themselves.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        *("cv2", "onnx", "onnxruntime", "torch", "torch.distributed", "matplotlib.figure"),
        *("esr_core.cli", "esr_core.training.trainer", "esr_core.network.onnx_export"),
    ]
)


def _start() -> None:
    """Start that process unless it runs; outside of the source tree, or it would import that."""
    here = os.getcwd()
    os.chdir(os.sep)
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(here)


def esr(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder."""
    words = ["esr", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as streams:
        stdout, stderr = (Path(streams) / name for name in ("stdout", "stderr"))
        values = (str(folder), words, dict(os.environ), str(stdout), str(stderr))
        process = _PROCESSES.Process(target=_run, args=values)
        _start()
        process.start()
        process.join()
        out, err = (each.read_text(encoding="utf-8") for each in (stdout, stderr))
    assert process.exitcode is not None
    return subprocess.CompletedProcess(words, process.exitcode, out, err)


def _run(
    folder: str, words: List[str], environment: Dict[str, str], stdout: str, stderr: str
) -> None:
    """Become the program: its folder, its environment, its streams, its words."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    program = shutil.which("esr")
    assert program is not None
    sys.argv = [program, *words[1:]]
    try:
        code = runpy.run_path(program)["run"]()
    finally:
        atexit._run_exitfuncs()
    sys.exit(code)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the single error line of a command that failed."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def report(done: subprocess.CompletedProcess[str], code: int = 0) -> Dict[str, Any]:
    """Return the summary of a command that was given --json; 2: a part is unanswered."""
    assert done.returncode == code, done.stderr
    summary: Dict[str, Any] = json.loads(done.stdout)
    return summary
