"""How the node keeps up: what ``esr bench --node`` measures, with camera and node as processes.

Latency is from an image's stamp to the answer's arrival in another process. Camera and listener
run on the same cores; what they take is not the node's, but it is time that the node lacks.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import EsrError, OptionError
from esr_core.progress import bar
from esr_ros.benchmark.test_rig import Listener, NodeTestRig, Sent, node_test_rig
from esr_ros.demo.scene import Scene

#: How often the node's memory is looked at.
TICK_S = 0.5
#: In so many parts a run is told over time.
PARTS = 60


@dataclass(frozen=True)
class Scenario:
    """What is asked of the node."""

    name: str
    faces: int = 1
    rate_hz: float = 30.0
    width_px: int = 640
    height_px: int = 480

    def play(self, seconds: float) -> Scene:
        """Return what the camera shows for so long."""
        return Scene(((seconds, self.faces),), self.rate_hz, self.width_px, self.height_px)


SCENARIOS = (
    Scenario("640x480 30 Hz 0 faces", faces=0),
    Scenario("640x480 30 Hz 1 face"),
    Scenario("640x480 30 Hz 4 faces", faces=4),
    Scenario("1920x1080 30 Hz 1 face", width_px=1920, height_px=1080),
    Scenario("640x480 120 Hz 1 face", rate_hz=120.0),
    Scenario("640x480 120 Hz 4 faces", faces=4, rate_hz=120.0),
)


@dataclass
class Usage:
    """What a process takes, as Linux tells."""

    pid: int
    resident_mb: List[float] = field(default_factory=list)

    def cpu_s(self) -> float:
        """CPU seconds of all its threads since it began."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def look(self) -> None:
        """Note its memory."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        self.resident_mb.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)


def measure(
    scenario: Scenario, seconds: float, arguments: Sequence[str], said: Path
) -> Dict[str, Any]:
    """Run one scenario; return its figures as plain JSON values.

    arguments: of the node, as ROS takes them. said: file for what the node says.

    Raises:
        StageError: the node does not answer, or a process ended.
    """
    play = scenario.play(seconds)
    with node_test_rig(play, said, arguments) as on_stage:
        start_s = on_stage.wait_for_first_answer()
        sent, figures = _watched(on_stage, scenario.name, seconds)
        return {
            "scenario": scenario.name,
            **figures,
            **_faces(sent, on_stage.listener, play),
            "start_s": round(start_s, 1),
        }


def _watched(on_stage: NodeTestRig, name: str, seconds: float) -> Tuple[List[Sent], Dict[str, Any]]:
    """Let the camera play; return what it sent and how the node kept up."""
    node, listener = Usage(on_stage.node.pid), on_stage.listener
    dropped = listener.dropped()
    cpu_s, began_s = node.cpu_s(), time.monotonic()
    with bar("s") as progress:
        task = progress.add_task(name, total=seconds)

        def on_tick() -> None:
            node.look()
            progress.advance(task, TICK_S)

        sent = on_stage.run(on_tick, TICK_S)
    cores = (node.cpu_s() - cpu_s) / (time.monotonic() - began_s)
    # To the end of the last image's time: between n images are n - 1 periods.
    elapsed_s = (sent[-1][0] - sent[0][0]) / 1e9 * len(sent) / (len(sent) - 1)
    stamps = [stamp for stamp, _ in sent if stamp in listener.answers]
    latency_ms = np.array([listener.latency_s[stamp] for stamp in stamps]) * 1e3
    p50, p99, most = np.percentile(latency_ms, [50, 99, 100])
    return sent, {
        "sent_hz": round(len(sent) / elapsed_s, 1),
        "answered_hz": round(len(stamps) / elapsed_s, 1),
        "sent": len(sent),
        "dropped": len(sent) - len(stamps),
        "node_says": listener.dropped() - dropped,
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "max_ms": round(float(most), 1),
        "queued": _queued(np.array(stamps) / 1e6, latency_ms),
        "cores": round(cores, 2),
        "resident_mb": round(node.resident_mb[-1]),
        "over_time": {
            "seconds": round(elapsed_s, 1),
            "p50_ms": _medians(latency_ms),
            "resident_mb": _medians(node.resident_mb),
        },
    }


def _faces(sent: List[Sent], listener: Listener, play: Scene) -> Dict[str, Any]:
    """How many faces were overlooked or made up, and how far off the others' boxes are."""
    shown = found = missed = 0
    offsets: List[NDArray[np.float32]] = []
    for frame, (stamp, _) in enumerate(sent):
        if stamp not in listener.answers:
            continue
        places = play.places(frame)
        rois = [emotion.roi for emotion in listener.answers[stamp].emotions]
        centres = np.array(
            [(r.x_offset + r.width / 2, r.y_offset + r.height / 2) for r in rois], np.float32
        ).reshape(-1, 2)
        shown, found = shown + len(places), found + len(rois)
        for x, y, width in places:
            away = (centres - (x, y)) / width
            near = away[np.abs(away).max(axis=1, initial=0) < 0.5]
            missed += len(near) == 0
            offsets += list(near[:1])
    if not offsets:
        return {"shown": shown, "missed": missed, "made_up": found - shown + missed, "off": None}
    # A detector's boxes lie a little beside what we call the centre; how steadily, counts.
    off = np.linalg.norm(np.array(offsets) - np.median(offsets, axis=0), axis=1)
    return {
        "shown": shown,
        "missed": missed,
        "made_up": found - shown + missed,
        "off": round(float(np.percentile(off, 95)), 3),
    }


def _queued(stamps_ms: NDArray[np.float64], latency_ms: NDArray[np.float64]) -> int:
    """How many answers took longer than two frames' work: the rest of one, and their own.

    Between the answer before the last and this one the node did no more than these two, whatever
    they took. An image that waited longer has stood in a queue.
    """
    arrived_ms = stamps_ms + latency_ms
    return int(np.sum(latency_ms[2:] > arrived_ms[2:] - arrived_ms[:-2]))


def _medians(values: Any) -> List[float]:
    """The medians of parts of equal length, in order."""
    parts = np.array_split(np.asarray(values), min(PARTS, len(values)))
    return [round(float(np.median(part)), 2) for part in parts]


def main() -> int:
    """Run the scenarios; print the figures of each, or what was wrong, as one line of JSON."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--folder", default=".", help="where paths of the node's parameters begin")
    parsed, arguments = parser.parse_known_args()
    chosen = [scenario for scenario in SCENARIOS if parsed.only in scenario.name]
    said = Path("node.log").absolute()
    os.chdir(parsed.folder)
    try:
        if not chosen:
            names = "; ".join(scenario.name for scenario in SCENARIOS)
            raise OptionError(f"--only {parsed.only!r} is part of no scenario: {names}")
        for scenario in chosen:
            print(json.dumps(measure(scenario, parsed.seconds, arguments, said)), flush=True)
    except EsrError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
