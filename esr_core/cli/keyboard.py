"""Keys that are pressed in the terminal while a command runs."""

from __future__ import annotations

import os
import select
import sys
from contextlib import contextmanager
from typing import Callable, Iterator


@contextmanager
def key_reader() -> Iterator[Callable[[], str]]:
    """Yield a function that returns the keys pressed since its last call, without Enter.

    It does not wait, and returns "" if stdin is no terminal.
    """
    # Linux stops a background process that changes the terminal.
    stdin = sys.stdin
    if not stdin or not stdin.isatty() or os.tcgetpgrp(stdin.fileno()) != os.getpgrp():
        yield lambda: ""
        return
    import termios
    import tty

    def pressed() -> str:
        ready = select.select([stdin], [], [], 0)[0]
        return os.read(stdin.fileno(), 64).decode(errors="replace") if ready else ""

    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
