"""Reader, writer and recovery of rosbag2 files; OptionError at import without what they need."""

import sys
from importlib.util import find_spec

from esr_core.errors import OptionError


def _check() -> None:
    if sys.version_info < (3, 10):  # as JetPack 5 has it; there is no rosbags 0.11 for it
        raise OptionError("bags need Python 3.10 or newer; process them on another machine")
    for needed in ("rosbags", "mcap"):
        if find_spec(needed) is None:
            raise OptionError(f"{needed} is not installed; run 'pip install rosbags mcap'")


_check()
