"""Point the CMake files of the ROS wheels at this environment.

They hold the include folders of the machine that built them: Python's, and NumPy's.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILT_PYTHON = re.compile(r"/opt/python/cp[^/\";]+/include/python[0-9.]+")
BUILT_NUMPY = re.compile(r"/opt/python/[^\";]*/site-packages/numpy/_core/include")

for path in Path(sys.prefix, "share").rglob("*.cmake"):
    before = path.read_text(encoding="utf-8")
    after = BUILT_NUMPY.sub(numpy.get_include(), before)
    after = BUILT_PYTHON.sub(sysconfig.get_paths()["include"], after)
    if after != before:
        path.write_text(after, encoding="utf-8")
