"""The time of a camera's images: their stamps, or their arrival where the stamps are wrong."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Deque, NamedTuple, Optional, Tuple

import numpy as np

#: Time without an image after which a camera is silent, and its faces end.
SILENCE_S = 5.0
#: Stamps that go back by no more are out of order; by more, a recording has started over.
LATE_S = 1.0
#: The stamps that a recording which starts over must precede: more than one, as a single stamp may
#: be wrong, and two cameras may publish in turns.
RECENT = 3
#: Stamps are wrong if they advance by this factor slower or faster than the images arrive, or go
#: back by more than LATE_S that often, within WINDOW images or for a moment each time. Recordings
#: are played at most that fast; stamps in a wrong unit are off by 1000.
MAX_RATE, MAX_BACK, WINDOW = 100.0, 3, 30
#: Longest gap between two images that counts as arrival; a longer one is a pause of the player.
MAX_GAP_S = 1.0


class Moment(NamedTuple):
    """The time of one image."""

    time_s: float
    is_restart: bool  # the images before are of another time: their tracks have ended


class StreamClock:
    """Turns the stamps of one camera into a time that goes back at restarts only.

    Stamps are used as they are, so the same recording gives the same results. An image whose stamp
    is late has the time of the image before. Where the times of arrival are known, they count from
    the first image on that has no stamp, and once the stamps are found to be wrong.

    max_pause_s: images that arrive after a longer pause are a restart.
    """

    def __init__(self, max_pause_s: float = inf) -> None:
        self._max_pause_s = max_pause_s
        self._time_s = -inf
        self._offset_s = 0.0  # from stamps to the time
        self._arrival_s: Optional[float] = None
        self._recent: Deque[float] = deque(maxlen=RECENT)
        self._before_s = inf  # the time before the last restart
        self._spikes = 0  # restarts after which the stamps soon returned to that time
        # Of each image: steps of the time and of the arrival in seconds, whether the stamp is back.
        self._window: Deque[Tuple[float, float, bool]] = deque(maxlen=WINDOW)
        #: Why the time of arrival counts; empty: the stamps do.
        self.problem = ""

    def update(self, stamp_s: Optional[float], arrival_s: Optional[float] = None) -> Moment:
        """Return the time of the next image.

        stamp_s: None for an image without a stamp. arrival_s: of a clock that never goes back.
        """
        gap_s = 0.0
        if arrival_s is not None and self._arrival_s is not None:
            gap_s = max(arrival_s - self._arrival_s, 0.0)
        is_first, self._arrival_s = self._time_s == -inf, arrival_s
        if stamp_s is None and not self.problem:
            self.problem = "there are images without a stamp"
        is_restart = gap_s > self._max_pause_s
        if stamp_s is None or self.problem:
            self._time_s = (arrival_s or 0.0) if is_first else self._time_s + gap_s
            return Moment(self._time_s, is_restart)
        last_s, is_back = self._time_s, self._time_s - stamp_s - self._offset_s > LATE_S
        if is_back and stamp_s < min(self._recent) - LATE_S:
            is_restart, self._offset_s, self._time_s = True, 0.0, -inf
            self._before_s = last_s
            self._recent.clear()
        elif is_back:  # from a stamp that was too late
            self._offset_s = last_s - stamp_s
        if len(self._recent) == RECENT:
            self._before_s = inf
        elif stamp_s > self._before_s:
            self._before_s, self._spikes = inf, self._spikes + 1
        self._recent.append(stamp_s)
        self._time_s = max(self._time_s, stamp_s + self._offset_s)
        if gap_s:
            step_s = max(self._time_s - last_s, 0.0)
            self._window.append((step_s, min(gap_s, MAX_GAP_S), is_back))
            self.problem = self._check()
        return Moment(self._time_s, is_restart)

    def _check(self) -> str:
        steps_s, gaps_s, back = np.array(self._window).T
        if len(self._window) < WINDOW and (gaps_s.sum() < MAX_GAP_S or len(self._window) < 5):
            return ""
        usual_s = gaps_s.mean()
        if back.sum() >= MAX_BACK or self._spikes >= MAX_BACK:
            return "the stamps of the images go back and forth"
        if steps_s.mean() < usual_s / MAX_RATE:
            return "the stamps of the images do not advance"
        if np.median(steps_s) > usual_s * MAX_RATE:
            return f"the stamps advance {MAX_RATE:.0f} times faster than the images arrive"
        return ""
