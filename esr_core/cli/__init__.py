"""The command line ``esr``: one module per command, or per group of related commands."""

from __future__ import annotations

import argparse
import logging
import os
import select
import signal
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
from esr_core.cli.command import note
from esr_core.errors import INSTALL_TRAINING, EsrError
from esr_core.file_names import print_any_name


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run one command; return 0 if all was answered, else 2 after a line on stderr per fault."""
    print_any_name()
    parsed = parser().parse_args(arguments)
    logging.basicConfig(format=f"esr {parsed.command}: %(message)s")

    def fail(message: object) -> int:
        for line in str(message).split("\n"):
            note(parsed, line)
        return 2

    try:
        parsed.run(parsed)
        print(end="", flush=True)  # an error of stdout is reported here, not at the exit
        return int(parsed.exit_code)
    except EsrError as error:
        return fail(error)
    except UnicodeError as error:
        encoding = getattr(error, "encoding", "utf-8").upper()
        return fail(f"a file, or its name, is not {encoding} ({error})")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "onnx", "yaml", "matplotlib"):
            raise
        return fail(f"{error.name} is not installed; {INSTALL_TRAINING}")
    except OSError as error:  # a folder that is a file, a full disk, no permission, a closed pipe
        if isinstance(error, BrokenPipeError) and _stdout_is_closed():
            # The interpreter flushes stdout at its exit, and would report the error again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 128 + signal.SIGPIPE
        return fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except KeyboardInterrupt as stop:
        fail(f"stopped; {stop}" if str(stop) else "stopped")
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each stores its function in ``run``."""
    overall = argparse.ArgumentParser(
        prog="esr",
        description="Facial emotion recognition by Ensembles with Shared Representations. "
        "'esr COMMAND --help' has the flags and examples of a command.",
    )
    overall.set_defaults(exit_code=0)
    commands = overall.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for each in (image, video, camera, annotate, report, evaluate, bench, train, export, download):
        each.add(commands)
    return overall


def _stdout_is_closed() -> bool:
    """Return whether the reader of stdout has closed it, as ``| head`` does."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
