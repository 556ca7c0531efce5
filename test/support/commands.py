"""The command `esr` and other programs of the package, run as processes."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

# Each command is a fork of one process that has imported what commands import: with PyTorch that
# takes two seconds, with ROS and the bags' libraries a third of one, and there are hundreds of
# commands and nodes. Tests of how a program starts, and of signals, start it themselves.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        *("cv2", "onnx", "onnxruntime", "torch", "torch.distributed", "matplotlib.figure"),
        *("esr_core.cli", "esr_core.training.trainer", "esr_core.network.onnx_export"),
        # Left out where ROS is not installed.
        *("esr_ros.emotion_node", "esr_ros.annotation.batch", "esr_ros.playback.player"),
        *("esr_ros.demo.photo_camera", "rosbags.rosbag2", "geometry_msgs.msg"),
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


class ForkedProgram:
    """A program of the package in a process of its own, with what tests use of ``Popen``.

    stdout, stderr: files, which may be the same.
    """

    def __init__(self, words: Sequence[str], folder: Path, stdout: Path, stderr: Path) -> None:
        self.args = list(words)
        values = (str(folder), self.args, dict(os.environ), str(stdout), str(stderr))
        self._process = _PROCESSES.Process(target=_run, args=values)
        _start()
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> Optional[int]:
        return self._process.exitcode

    def poll(self) -> Optional[int]:
        return self._process.exitcode

    def wait(self, timeout: Optional[float] = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def esr(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder."""
    return run(folder, "esr", *arguments)


def run(
    folder: Path, *words: object, timeout_s: Optional[float] = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of the package in a folder."""
    with tempfile.TemporaryDirectory() as streams:
        stdout, stderr = (Path(streams) / name for name in ("stdout", "stderr"))
        program = ForkedProgram([*map(str, words)], folder, stdout, stderr)
        try:
            code = program.wait(timeout_s)
        finally:
            program.kill()
        out, err = (each.read_text(encoding="utf-8") for each in (stdout, stderr))
    return subprocess.CompletedProcess(program.args, code, out, err)


def _run(
    folder: str, words: List[str], environment: Dict[str, str], stdout: str, stderr: str
) -> None:
    """Become the program: its folder, its environment, its streams, its words."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    program = shutil.which(words[0])
    assert program is not None
    sys.argv = [program, *words[1:]]
    try:
        code = runpy.run_path(program)["run"]()  # programs that use ROS end in run_path()
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
