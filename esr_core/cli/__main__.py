"""``python -m esr_core.cli``, for torchrun."""

import sys

from esr_core.cli import main

if __name__ == "__main__":  # worker processes of a command import this module
    sys.exit(main())
