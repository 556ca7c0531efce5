"""The input of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Optional, Sequence

import numpy as np
from numpy.typing import NDArray

from esr_core.media.records import FaceRecord, FrameRecord

#: Returns the picture of a face, RGB (h, w, 3), or None if its frame is not available.
Thumbnail = Callable[[FrameRecord, FaceRecord], Optional[NDArray[np.uint8]]]


@dataclass(frozen=True)
class Recording:
    """The frames of a recording, with the statistics of its topics."""

    title: str
    frames: Sequence[FrameRecord]
    offered: Optional[int] = None  # images on the topics, processed or not; None: unknown
    latencies_s: Optional[NDArray[np.float64]] = None  # (n,) from an image's stamp to its result
    thumbnail: Optional[Thumbnail] = None  # is called in the order of time
    notes: Sequence[str] = ()  # further remarks for the reader, in sentences
