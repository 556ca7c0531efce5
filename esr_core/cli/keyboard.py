"""Keys that are pressed in a terminal while a command goes on."""

from __future__ import annotations

import os
import select
import sys
from types import TracebackType
from typing import Any, Optional, Type


class Keyboard:
    """Hears keys at once, without Enter; where there is no terminal, none. For ``with``."""

    def __enter__(self) -> Keyboard:
        self._before: Optional[Any] = None
        if sys.stdin is not None and sys.stdin.isatty():
            import termios
            import tty

            self._terminal = sys.stdin.fileno()
            # Linux stops what changes a terminal from the background.
            if os.tcgetpgrp(self._terminal) == os.getpgrp():
                self._before = termios.tcgetattr(self._terminal)
                tty.setcbreak(self._terminal)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._before is not None:
            import termios

            termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)

    def pressed(self) -> str:
        """Return the keys that were pressed since the last call; it does not wait."""
        if self._before is None or not select.select([self._terminal], [], [], 0)[0]:
            return ""
        return os.read(self._terminal, 64).decode(errors="replace")
