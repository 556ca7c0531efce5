"""The arrays that are passed between the steps of a frame."""

from typing import Tuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Boxes = Floats  # (n, 4), or (4,) of one face: x1, y1, x2, y2 in pixels
Points = Floats  # (..., 2): x, y in pixels
Landmarks = Floats  # (n, 5, 2), or (5, 2) of one face: eyes, nose, corners of the mouth; as Points
Image = NDArray[np.uint8]  # (h, w, 3) RGB, or (h, w) grey
Shape = Tuple[int, ...]  # (h, w, ...) of an image
Votes = NDArray[np.int64]  # (n, branches): the most probable emotion of each; -1: not evaluated
