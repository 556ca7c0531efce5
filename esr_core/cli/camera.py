"""``esr camera``: emotions in front of a camera, live."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Deque, Iterator, List

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.live import Live
from rich.markup import escape

from esr_core.cli import output_files, pipeline_flags
from esr_core.cli.command import StdoutConsole, command, faces_of
from esr_core.cli.output_files import FrameResults
from esr_core.cli.tables import face_table
from esr_core.errors import VideoError
from esr_core.file_names import as_utf8
from esr_core.media.camera import Camera
from esr_core.media.records import FrameRecord
from esr_core.media.visualization import draw_faces
from esr_core.perception.face_emotion import FaceEmotion
from esr_core.pipeline import EmotionPipeline

#: Shows one frame and its faces; returns False if the user ended the command.
Show = Callable[[NDArray[np.uint8], List[FaceEmotion], FrameRecord], bool]
_COLUMNS = ("face", "emotion", "confidence", "valence", "arousal", "agreement")
_ESCAPE = 27


def add(commands: Any) -> None:
    """Declare the command."""
    camera = command(commands, "camera", run)
    flag = camera.add_argument
    device_help = "number or path of a camera, URL of a stream, or a video file, which is played "
    device_help += "at its own rate (default: %(default)s)"
    flag("device", nargs="?", default="0", metavar="DEVICE", help=device_help)
    output_files.add_flags(camera, "frame")
    flag("--no-window", action="store_true", help="show the table even if there is a display")
    pipeline_flags.add(camera)


def run(arguments: argparse.Namespace) -> None:
    """Show the emotions in front of a camera live, in a window or as a table in the terminal.
    Press q or Ctrl-C to end.

    examples:
      esr camera                                   # the first camera
      esr camera 2 --csv faces.csv                 # /dev/video2
      esr camera rtsp://robot/head --json
      esr camera talk.mp4 --no-window
    """
    output_files.check_frames(arguments, [Path(arguments.device)])
    pipeline = EmotionPipeline(pipeline_flags.chosen(arguments))
    pipeline.warm_up()
    camera = Camera(arguments.device)  # after the slow start, so that the first frame is new
    csv = output_files.csv_file(arguments)  # is kept after Ctrl-C, and if a camera ends
    disconnected = False
    with csv as write, suppress(KeyboardInterrupt), ExitStack() as stack:
        results = FrameResults(pipeline, arguments, camera.device, write)
        stack.callback(results.report_limits, camera.video)
        show = None if arguments.json else _display(stack, arguments)
        for image in stack.enter_context(camera):
            faces, frame = results.process(image.number, image.stamp_s, image.rgb)
            if show and not show(image.rgb, faces, frame):
                return
        disconnected = camera.live
        if camera.video and not results.frames:
            raise VideoError(f"{camera.device}: no frame can be read ({camera.video.codec})")
    if disconnected:
        raise VideoError(f"{camera.device}: delivers no more frames")


def _display(stack: ExitStack, arguments: argparse.Namespace) -> Show:
    """Open the requested display; it closes with ``stack``."""
    window = as_utf8(arguments.device)
    if not arguments.no_window and _open_window(window):
        stack.callback(cv2.destroyAllWindows)
        return lambda rgb, faces, frame: _show_in_window(window, rgb, faces)
    pressed_keys = stack.enter_context(_key_reader())
    live = stack.enter_context(Live(console=StdoutConsole(), refresh_per_second=10))
    stamps: Deque[float] = deque(maxlen=30)  # the last ones give the rate

    def show(rgb: NDArray[np.uint8], faces: List[FaceEmotion], frame: FrameRecord) -> bool:
        stamps.append(frame.stamp_s)
        span_s = stamps[-1] - stamps[0]
        rate = f", {(len(stamps) - 1) / span_s:.1f} frames/s" if span_s > 0 else ""
        title = f"{escape(frame.source)}: {frame.stamp_s:.1f} s, {faces_of(frame)}{rate} (q ends)"
        live.update(face_table(title, frame.faces, _COLUMNS, min_width=8))
        return "q" not in pressed_keys()

    return show


def _open_window(title: str) -> bool:
    """Open a window; return False without a display, or without support in OpenCV."""
    # Without a display some builds of OpenCV end the process.
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return False
    with suppress(cv2.error):
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        return True
    return False


def _show_in_window(title: str, rgb: NDArray[np.uint8], faces: List[FaceEmotion]) -> bool:
    cv2.imshow(title, cv2.cvtColor(draw_faces(rgb, faces), cv2.COLOR_RGB2BGR))
    key = cv2.waitKey(1) & 0xFF
    closed = cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) < 1
    return not closed and key not in (ord("q"), _ESCAPE)


@contextmanager
def _key_reader() -> Iterator[Callable[[], str]]:
    """Yield a function that returns the keys pressed since its last call, without Enter.

    It does not wait, and returns "" if stdin is no terminal.
    """
    # Linux stops a background process that changes the terminal.
    stdin = sys.stdin
    if not stdin or not stdin.isatty() or os.tcgetpgrp(stdin.fileno()) != os.getpgrp():
        yield lambda: ""
        return
    import termios  # Windows has none
    import tty

    def pressed() -> str:
        ready = select.select([stdin], [], [], 0)[0]
        return os.read(stdin.fileno(), 64).decode(errors="replace") if ready else ""

    before = termios.tcgetattr(stdin)
    tty.setcbreak(stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
