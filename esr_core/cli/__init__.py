"""The command line ``esr``; one module a command, or a few that belong together."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Optional, Sequence

from esr_core.cli import (
    annotate,
    bench,
    camera,
    download,
    evaluate,
    export,
    image,
    report,
    train,
    video,
)
from esr_core.errors import INSTALL_TRAINING, EsrError


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns 0, or 2 after one line on stderr that says what was wrong."""
    parsed = parser().parse_args(arguments)
    try:
        parsed.run(parsed)
        return 0
    except EsrError as error:
        print(f"esr {parsed.command}: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx", "yaml", "matplotlib"):
            raise
        print(
            f"esr {parsed.command}: {error.name} is not installed; {INSTALL_TRAINING}",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # who reads has enough, as `head` has after some lines
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit would complain
        return 128 + signal.SIGPIPE
    except OSError as error:  # a folder that is a file, a full disk, no permission
        print(
            f"esr {parsed.command}: {error.filename or 'output'}: {error.strerror or error}",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt as stop:
        said = f"; {stop}" if str(stop) else ""
        print(f"esr {parsed.command}: stopped{said}", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each leaves the function to call in ``run``."""
    overall = argparse.ArgumentParser(
        prog="esr", description="Emotions of faces, by Ensembles with Shared Representations."
    )
    commands = overall.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (
        image,
        video,
        camera,
        annotate,
        report,
        evaluate,
        bench,
        train,
        export,
        download,
    ):
        module.add(commands)
    return overall
