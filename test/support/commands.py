"""The command `esr`, run as a process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Dict


def esr(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a folder."""
    command = ["esr", *(str(argument) for argument in arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


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
