"""Worker process of ``esr bench --node``: measures the node with one case after the other.

The latency is from the stamp of an image to the arrival of its answer in another process. Cameras
and listener run on the same cores: their load is not counted, but slows the node down.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, NoReturn, Sequence

import numpy as np
from numpy.typing import NDArray

from esr_core.benchmark.cases import NodeCase
from esr_core.errors import EsrError
from esr_core.progress import bar
from esr_ros.benchmark.test_rig import NodeTestRig, Sent, node_test_rig
from esr_ros.demo.scene import Scene

#: Sampling period of the node's memory, and number of parts in the figures over time.
TICK_S, PARTS = 0.5, 60
#: Longest measurement of the bare node.
FLOOR_S = 5.0


def measure(case: NodeCase, seconds: float, arguments: Sequence[str], log: Path) -> Dict[str, Any]:
    """Measure one case; return its figures as JSON values.

    arguments: ROS arguments of the node. log: file for its output.

    Raises:
        EsrError: the node does not answer, or a process ended.
    """
    scene = Scene(((seconds, case.faces),), case.rate_hz, case.width_px, case.height_px)
    resident_mb: List[float] = []
    with node_test_rig(scene, log, arguments, case.cameras) as rig, bar("s") as progress:
        pid, task = rig.node.pid, progress.add_task(case.name, total=scene.seconds)

        def on_tick() -> None:
            resident_mb.append(memory_mb(pid))
            progress.advance(task, TICK_S)

        rig.rest()
        dropped, began_cpu_s, began_s = rig.dropped(), cpu_s(pid), time.monotonic()
        sent = rig.run(on_tick, TICK_S)
        cores = (cpu_s(pid) - began_cpu_s) / (time.monotonic() - began_s)
        reported = rig.dropped() - dropped
        stages_ms = rig.stages_ms()
    short = replace(scene, scenes=((min(seconds, FLOOR_S), case.faces),))
    with node_test_rig(short, log, is_bare=True) as bare:
        bare_sent = bare.run(lambda: None)
    bare_s = [bare.latency_s[stamp] for stamp, *_ in bare_sent if stamp in bare.latency_s]
    answered = [stamp for stamp, *_ in sent if stamp in rig.answers]
    latency_ms = np.array([rig.latency_s[stamp] for stamp in answered]) * 1e3
    p50, p99, longest = np.percentile(latency_ms, [50, 99, 100]).round(1).tolist()
    # n images have n - 1 periods; one more, to the end of the last image's.
    elapsed_s = (sent[-1][0] - sent[0][0]) / 1e9 * len(sent) / (len(sent) - 1)
    # What is left is the way from the node to the listener.
    stages_ms["delivery"] = round(max(p50 - stages_ms.pop("latency", p50), 0.0), 2)
    return {
        "scenario": case.name,
        "sent_hz": round(len(sent) / elapsed_s, 1),
        "answered_hz": round(len(answered) / elapsed_s, 1),
        "sent": len(sent),
        "dropped": len(sent) - len(answered),
        "node_says": reported,
        "p50_ms": p50,
        "p99_ms": p99,
        "max_ms": longest,
        "queued": _queued(np.array(answered) / 1e6, latency_ms),
        "cores": round(cores, 3),
        "resident_mb": round(resident_mb[-1]),
        "over_time": {
            "seconds": round(elapsed_s, 1),
            "p50_ms": _medians(latency_ms),
            "resident_mb": _medians(resident_mb),
        },
        **_detection_errors(rig, sent),
        "start_s": round(rig.start_s, 1),
        "stages_ms": stages_ms,
        "floor_ms": round(float(np.median(bare_s)) * 1e3, 2),  # that of rclpy and DDS
    }


def cpu_s(pid: int) -> float:
    """Return the CPU time of all threads of a process, in s."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    user, system = stat.rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _detection_errors(rig: NodeTestRig, sent: List[Sent]) -> Dict[str, Any]:
    """Return the numbers of missed and made-up faces, and the offset of the others' boxes."""
    shown = found = missed = 0
    offsets: List[NDArray[np.float32]] = []
    for stamp, _, frame in (image for image in sent if image[0] in rig.answers):
        places, rois = rig.scene.places(frame), [e.roi for e in rig.answers[stamp].emotions]
        centres = np.array([(r.x_offset + r.width / 2, r.y_offset + r.height / 2) for r in rois])
        shown, found = shown + len(places), found + len(rois)
        for x, y, width in places:
            distances = (centres.reshape(-1, 2) - (x, y)) / width
            near = distances[np.abs(distances).max(axis=1, initial=0) < 0.5]
            missed += len(near) == 0
            offsets += list(near[:1])
    # The centre of a detector's box differs from that of the face; its variation is the error.
    off = np.array(offsets) - np.median(offsets, axis=0) if offsets else None
    return {
        "shown": shown,
        "missed": missed,
        "made_up": found - shown + missed,
        "off": None if off is None else round(float(np.percentile(np.hypot(*off.T), 95)), 3),
    }


def _queued(stamps_ms: NDArray[np.float64], latency_ms: NDArray[np.float64]) -> int:
    """Return the number of answers that took longer than the work on two frames."""
    # Between the last answer but one and this one, the node processed the rest of the previous
    # frame and this frame. An image that waited longer was in a queue.
    arrived_ms = stamps_ms + latency_ms
    return int(np.sum(latency_ms[2:] > arrived_ms[2:] - arrived_ms[:-2]))


def _medians(values: Any) -> List[float]:
    """Return the medians of PARTS parts of equal length."""
    parts = np.array_split(np.asarray(values), min(PARTS, len(values)))
    return [round(float(np.median(part)), 2) for part in parts]


def main() -> None:
    """Respond to each case on stdin with its figures or an error, as one line of JSON."""
    stops: List[int] = []

    def stop(number: int, frame: Any) -> NoReturn:
        stops.append(number)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    seconds, arguments, folder = json.loads(sys.argv[1])
    os.chdir(folder)  # relative paths in the arguments start there
    try:
        with tempfile.TemporaryDirectory() as logs:
            _respond(seconds, arguments, Path(logs, "node.log"))
    except KeyboardInterrupt:
        pass
    except (RuntimeError, SystemError):  # what an interrupt becomes while rclpy converts a message
        if not stops:
            raise


def _respond(seconds: float, arguments: List[str], log: Path) -> None:
    for request in sys.stdin:
        try:
            response = measure(NodeCase(**json.loads(request)), seconds, arguments, log)
        except EsrError as error:
            response = {"error": str(error)}
        print(json.dumps(response), flush=True)


if __name__ == "__main__":
    main()
