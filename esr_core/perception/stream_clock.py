"""The time of a camera's images: their stamps, or their arrival where the stamps are wrong."""

from __future__ import annotations

import time
from collections import deque
from math import inf
from statistics import median
from typing import Deque, NamedTuple, Optional, Tuple

#: Time without an image after which a camera is silent, and its faces end.
SILENCE_S = 5.0
#: A longer latency is the difference of two clocks, or the age of a recording.
LONGEST_LATENCY_S = 60.0
#: Stamps that go back by no more are out of order; by more, they are wrong, or a recording has
#: started over.
LATE_S = 1.0
#: The number of images whose stamps must agree: a single stamp may be wrong, and two cameras may
#: publish in turns.
RECENT = 3
#: Stamps are wrong if they advance by this factor slower or faster than the images arrive, within
#: WINDOW images, or if MAX_STRAYS of them were off by more than LATE_S for a moment. Recordings are
#: played at most that fast; stamps in a wrong unit are off by 1000.
MAX_RATE, WINDOW, MAX_STRAYS = 100.0, 30, 3
#: Longest gap between two images that counts as arrival; a longer one is a pause of the player.
MAX_GAP_S = 1.0


class Moment(NamedTuple):
    """The time of one image."""

    time_s: float
    is_restart: bool  # the images before are of another time: their tracks have ended


def stamp_seconds(sec: int, nanosec: int) -> Optional[float]:
    """Return a stamp of ROS in seconds; None for 0, which some cameras set."""
    return float(sec + nanosec * 1e-9) or None


class StreamClock:
    """Turns the stamps of one camera into a time that goes back at restarts only.

    Stamps are used as they are, so the same recording gives the same results. An image whose stamp
    is late, or goes back for a moment only, has the time of the image before. A recording starts
    over if the stamps go back to its first one, after a pause, or for RECENT images. The times of
    arrival count from the first image on that has no stamp, and once the stamps are found to be
    wrong; where none is given, it is the time of the call.

    max_pause_s: images that arrive after a longer pause are a restart.
    """

    def __init__(self, max_pause_s: float = inf) -> None:
        self._max_pause_s = max_pause_s
        self._time_s = -inf
        self._offset_s = 0.0  # from stamps to the time
        self._arrival_s: Optional[float] = None
        self._first_s = 0.0  # the first stamp of the recording
        self._recent: Deque[float] = deque(maxlen=RECENT)
        self._early = 0  # the number of images since the stamps went back
        self._before_s = inf  # the time before the last restart
        self._strays = 0  # how often stamps were wrong for a moment
        # Of each image: the step of the time, and that of the arrival, in seconds.
        self._window: Deque[Tuple[float, float]] = deque(maxlen=WINDOW)
        #: Why the time of arrival counts; empty: the stamps do.
        self.problem = ""

    def update(self, stamp_s: Optional[float], arrival_s: Optional[float] = None) -> Moment:
        """Return the time of the next image.

        stamp_s: None for an image without a stamp. arrival_s: of a clock that never goes back.
        """
        if arrival_s is None and (stamp_s is None or self.problem):
            arrival_s = time.monotonic()
        gap_s = 0.0
        if arrival_s is not None and self._arrival_s is not None:
            gap_s = max(arrival_s - self._arrival_s, 0.0)
        self._arrival_s = arrival_s
        if stamp_s is None and not self.problem:
            self.problem = "there are images without a stamp"
        is_restart = gap_s > self._max_pause_s
        if stamp_s is None or self.problem:
            self._time_s = (arrival_s or 0.0) if self._time_s == -inf else self._time_s + gap_s
            return Moment(self._time_s, is_restart)
        last_s = self._time_s
        is_new = self._is_restart(stamp_s, gap_s)
        if is_new:
            self._before_s, self._time_s = last_s, -inf
            self._first_s, self._offset_s, self._early = stamp_s, 0.0, 0
            self._recent.clear()
        if not self._early:
            self._recent.append(stamp_s)
            self._time_s = max(self._time_s, stamp_s + self._offset_s)
        if gap_s:
            self._window.append((max(self._time_s - last_s, 0.0), gap_s))
            self.problem = self._check()
        return Moment(self._time_s, is_restart or is_new)

    def _is_restart(self, stamp_s: float, gap_s: float) -> bool:
        """Compare a stamp with those before; count the strays."""
        is_young = len(self._recent) < RECENT
        if self._time_s - stamp_s - self._offset_s <= LATE_S:
            self._strays += self._early > 0  # those before were too early
            self._early = 0
            if gap_s > LATE_S or stamp_s + self._offset_s - self._time_s > SILENCE_S:
                self._first_s = stamp_s  # perhaps of another recording
            if not is_young:
                self._before_s = inf
            elif stamp_s > self._before_s:  # it was no restart
                self._before_s, self._strays = inf, self._strays + 1
            return False
        is_live = self._arrival_s is not None
        if (is_young and is_live) or stamp_s >= min(self._recent) - LATE_S:
            # The stamp before was too late.
            self._offset_s = self._time_s - stamp_s
            self._first_s = min(self._first_s, stamp_s)
            self._strays, self._early = self._strays + 1, 0
            return False
        self._early += 1
        is_first_again = not self._strays and abs(stamp_s - self._first_s) <= LATE_S
        return is_young or is_first_again or gap_s > LATE_S or self._early == RECENT

    def _check(self) -> str:
        if self._strays >= MAX_STRAYS:
            return "the stamps of the images go back and forth"
        steps_s, pauses_s = zip(*self._window)
        gaps_s = [min(pause_s, MAX_GAP_S) for pause_s in pauses_s]
        if len(gaps_s) < WINDOW and (sum(gaps_s) < MAX_GAP_S or len(gaps_s) < 5):
            return ""
        usual_s = sum(gaps_s) / len(gaps_s)
        if sum(steps_s) < usual_s * len(gaps_s) / MAX_RATE:
            return "the stamps of the images do not advance"
        # Not capped: a camera may take an image every few minutes.
        if median(steps_s) > max(usual_s, median(pauses_s)) * MAX_RATE:
            return f"the stamps advance {MAX_RATE:.0f} times faster than the images arrive"
        return ""
