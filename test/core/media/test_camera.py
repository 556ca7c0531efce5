"""Live images, and the command `esr camera`; what stands in for a camera is a file or a stream."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import films
import numpy as np
import pytest
from commands import esr, refusal
from numpy.typing import NDArray

from esr_core.errors import VideoError
from esr_core.media.camera import Camera
from esr_core.media.records import read_csv


@pytest.fixture
def talk(tmp_path: Path, rgb: NDArray[np.uint8]) -> Path:
    return films.write(tmp_path / "talk.mp4", films.moved(rgb, 20))


@pytest.fixture
def stream(rgb: NDArray[np.uint8]) -> Iterator[str]:
    """The URL of a camera in the network that is switched off after some images."""
    jpeg = cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            for _ in range(20):
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
                time.sleep(1 / films.RATE_HZ)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/head"
        server.shutdown()
        thread.join()


def test_slow_reader_gets_the_newest_image(talk: Path, rgb: NDArray[np.uint8]) -> None:
    seen = []
    with Camera(str(talk)) as camera:
        assert not camera.live
        for image in camera:
            seen.append(image.number)
            assert image.stamp_s == pytest.approx(image.number / films.RATE_HZ, abs=1e-3)
            frame = np.roll(rgb, 2 * image.number, axis=1)
            assert np.abs(image.rgb.astype(int) - frame).mean() < 8
            time.sleep(0.15)
    assert seen == sorted(set(seen))
    assert seen[-1] == 19
    assert len(seen) < 15


def test_reader_that_has_enough_leaves(talk: Path) -> None:
    with Camera(str(talk)) as camera:
        assert next(iter(camera)).rgb.shape == (512, 512, 3)
    assert "camera" not in {thread.name for thread in threading.enumerate()}


def test_stream_has_the_time_of_the_grab(stream: str) -> None:
    with Camera(stream) as camera:
        assert camera.live
        stamps = [image.stamp_s for image in camera]
    assert stamps == sorted(stamps)
    assert 0 <= stamps[0] <= stamps[-1] < 60  # from the first one on, not since the machine's start
    assert stamps[-1] > 0


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ("77", "77: there is no /dev/video77; cameras here: .*a number, a path, a URL or a video"),
        ("/dev/video77", "there is no /dev/video77"),
        ("/dev/null", "/dev/null: cannot be opened; no camera, or in use"),
        ("http://127.0.0.1:9/x", "cannot be opened; no video comes from there"),
        (__file__, "not a video that can be read"),
    ],
)
def test_what_is_no_camera(device: str, text: str) -> None:
    with pytest.raises(VideoError, match=text):
        Camera(device)


def test_no_camera_is_one_line(tmp_path: Path) -> None:
    line = refusal(esr(tmp_path, "camera", "77", "--csv", "x.csv"))
    assert line.startswith("esr camera: 77: there is no /dev/video77; cameras here: ")
    assert list(tmp_path.iterdir()) == []


def test_json_and_csv_tell_the_same(tmp_path: Path, talk: Path) -> None:
    done = esr(tmp_path, "camera", talk.name, "--json", "--csv", "x.csv")
    assert (done.returncode, done.stderr) == (0, "")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert set(told[0]) == {"camera", "frame", "stamp_s", "faces"}
    assert told[-1]["frame"] == 19
    assert {(f["face_id"], f["label"]) for each in told for f in each["faces"]} == {(1, "happy")}
    assert [f.number for f in read_csv(tmp_path / "x.csv")] == [each["frame"] for each in told]
    again = refusal(esr(tmp_path, "camera", talk.name, "--csv", "x.csv"))
    assert "x.csv is there already; add --overwrite" in again
    for read in (("--model", "x.csv"), ("--detector-model", "x.csv")):
        line = refusal(esr(tmp_path, "camera", "77", *read, "--csv", "x.csv", "--overwrite"))
        assert "--csv would overwrite x.csv, which is read" in line


def test_camera_that_is_switched_off(tmp_path: Path, stream: str) -> None:
    done = esr(tmp_path, "camera", stream, "--json", "--csv", "x.csv")
    assert refusal(done) == f"esr camera: {stream}: gives no more images"
    assert len(list(read_csv(tmp_path / "x.csv"))) == len(done.stdout.splitlines()) > 0


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_table_in_the_terminal_until_a_key(
    tmp_path: Path, rgb: NDArray[np.uint8], key: bytes
) -> None:
    films.write(tmp_path / "long.mp4", [rgb] * 900)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    with subprocess.Popen(
        ["setsid", "--ctty", "esr", "camera", "long.mp4", "--no-window", "--csv", "x.csv"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        assert process.stderr is not None
        shown = b""
        while b"happy" not in shown:
            shown += os.read(ours, 4096)
        os.write(ours, key)
        while process.poll() is None:  # who writes to a terminal that nobody reads, waits
            if select.select([ours], [], [], 0.05)[0]:
                shown += os.read(ours, 4096)
        assert process.stderr.read() == b""
        assert process.wait() == 0
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="ignore"))
    assert re.search(r"long\.mp4: \d\.\d s, 1 face", text)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert 0 < len(list(read_csv(tmp_path / "x.csv"))) < 900
