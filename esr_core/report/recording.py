"""What a report is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from esr_core.media.records import FaceRecord, FrameRecord

#: Cuts a face out of its image: RGB, (h, w, 3), or None where the image is not at hand.
Thumbnail = Callable[[FrameRecord, FaceRecord], Optional[NDArray[np.uint8]]]


@dataclass(frozen=True)
class Recording:
    """Images that were answered, and what else is known of them."""

    title: str
    frames: Sequence[FrameRecord]
    offered: Optional[int] = None  # images on the topics, answered or not; None: not known
    latencies_s: Optional[NDArray[np.float64]] = None  # (n,) from an image's stamp to its answer
    thumbnail: Optional[Thumbnail] = None  # is asked in the order of time
    notes: Sequence[str] = ()  # what else a reader should know, in sentences
