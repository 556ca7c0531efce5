"""``python -m esr_core.cli``, for torchrun."""

import sys

from esr_core.cli import main

sys.exit(main())
