"""``esr camera``: what the people before a camera show, now."""

from __future__ import annotations

import argparse
import os
import sys
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Callable, Deque, List

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from esr_core.cli import output_files, pipeline_flags
from esr_core.cli.command import command
from esr_core.cli.keyboard import Keyboard
from esr_core.cli.output_files import Output
from esr_core.errors import VideoError
from esr_core.media.camera import Camera
from esr_core.media.records import FaceRecord, FrameRecord
from esr_core.media.visualization import draw_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.pipeline import EmotionPipeline

#: Shows one image and the faces in it; returns whether to go on.
Show = Callable[[NDArray[np.uint8], List[FaceEmotion], FrameRecord], bool]
_ESCAPE = 27


def add(commands: Any) -> None:
    """Declare the command."""
    camera = command(
        commands,
        "camera",
        "Show live what faces before a camera show: in a window, or as a table in the terminal; "
        "q or Ctrl-C ends it.",
        "esr camera\n  esr camera 2 --csv seen.csv\n  esr camera rtsp://robot/head --json\n"
        "  esr camera talk.mp4 --no-window",
        run,
    )
    camera.add_argument(
        "device",
        nargs="?",
        default="0",
        metavar="DEVICE",
        help="number or path of a camera, URL of a stream, or a video file, which is played at its "
        "own rate (default: 0)",
    )
    camera.add_argument(
        "--json", action="store_true", help="one JSON object per image and line, and no window"
    )
    camera.add_argument("--csv", type=Path, metavar="FILE", help="one row per face and image")
    camera.add_argument("--overwrite", action="store_true", help="write over a file that is there")
    camera.add_argument("--no-window", action="store_true", help="the table, even with a display")
    pipeline_flags.add(camera)


def run(arguments: argparse.Namespace) -> None:
    """Answer the newest image again and again, until the user or the video ends it."""
    if arguments.csv:
        read = [Path(arguments.device), *pipeline_flags.files(arguments)]
        output_files.check([Output("--csv", arguments.csv)], read, arguments.overwrite)
    pipeline = EmotionPipeline(pipeline_flags.chosen(arguments))
    pipeline.warm_up()
    camera = Camera(arguments.device)  # after what takes time, so that no image gets old
    ended_by_user = False
    with output_files.csv_file(arguments.csv) as write:
        try:
            ended_by_user = _go_on(camera, pipeline, arguments, write)
        except KeyboardInterrupt:
            ended_by_user = True  # what was seen so far is kept
    if arguments.csv:
        output_files.name(arguments.csv, arguments)
    if camera.live and not ended_by_user:
        raise VideoError(f"{camera.device}: gives no more images")


def _go_on(
    camera: Camera,
    pipeline: EmotionPipeline,
    arguments: argparse.Namespace,
    write: Callable[[FrameRecord], None],
) -> bool:
    """Return whether the user ended it, not the camera."""
    with ExitStack() as stack:
        show = _show(stack, arguments)
        for image in stack.enter_context(camera):
            faces = pipeline.step(image.rgb, image.stamp_s)
            sightings = tuple(FaceRecord.of(face) for face in faces)
            frame = FrameRecord(camera.device, image.number, image.stamp_s, sightings)
            write(frame)
            if not show(image.rgb, faces, frame):
                return True
    return False


def _show(stack: ExitStack, arguments: argparse.Namespace) -> Show:
    """Choose how to show what is seen; what was opened for it closes with ``stack``."""
    if arguments.json:
        return _print
    if not arguments.no_window and _open_window(arguments.device):
        stack.callback(cv2.destroyAllWindows)
        return lambda rgb, faces, frame: _show_window(arguments.device, rgb, faces)
    keyboard = stack.enter_context(Keyboard())
    live = stack.enter_context(Live(console=Console(), refresh_per_second=10))
    stamps: Deque[float] = deque(maxlen=30)

    def show(rgb: NDArray[np.uint8], faces: List[FaceEmotion], frame: FrameRecord) -> bool:
        stamps.append(frame.stamp_s)
        live.update(_table(frame, stamps))
        return "q" not in keyboard.pressed()

    return show


def _print(rgb: NDArray[np.uint8], faces: List[FaceEmotion], frame: FrameRecord) -> bool:
    print(output_files.line("camera", frame), flush=True)
    return True


def _open_window(title: str) -> bool:
    """Open a window; return whether there is one: a display, and an OpenCV that knows windows."""
    # Without a display some builds of OpenCV end the process.
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return False
    with suppress(cv2.error):
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        return True
    return False


def _show_window(title: str, rgb: NDArray[np.uint8], faces: List[FaceEmotion]) -> bool:
    cv2.imshow(title, cv2.cvtColor(draw_faces(rgb, faces), cv2.COLOR_RGB2BGR))
    key = cv2.waitKey(1) & 0xFF
    closed = cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1
    return not closed and key not in (ord("q"), _ESCAPE)


def _table(frame: FrameRecord, stamps: Deque[float]) -> Table:
    """Return the faces of now as a table; ``stamps`` of the last images give the rate."""
    span_s = stamps[-1] - stamps[0]
    rate = f", {(len(stamps) - 1) / span_s:.1f} images/s" if span_s > 0 else ""
    count = len(frame.sightings)
    faces = f"{count or 'no'} face{'' if count == 1 else 's'}"
    table = Table(
        title=f"{escape(frame.source)}: {frame.stamp_s:.1f} s, {faces}{rate} (q ends)",
        title_justify="left",
    )
    for column in ("face", "emotion", "confidence", "valence", "arousal", "agreement"):
        table.add_column(column, justify="left" if column == "emotion" else "right", min_width=8)
    for face in frame.sightings:
        table.add_row(
            str(face.face_id),
            face.label,
            f"{face.confidence:.0%}",
            f"{face.valence:+.2f}",
            f"{face.arousal:+.2f}",
            f"{face.agreement:.0%}",
        )
    return table
