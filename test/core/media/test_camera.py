"""Live frames, and the command `esr camera`; files and streams replace a camera."""

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
import numpy as np
import pytest
import videos
from commands import esr, refusal
from numpy.typing import NDArray

from esr_core.errors import VideoError
from esr_core.media.camera import Camera
from esr_core.media.records import read_csv


@pytest.fixture
def talk(tmp_path: Path, rgb: NDArray[np.uint8]) -> Path:
    return videos.write(tmp_path / "talk.mp4", videos.moved(rgb, 20))


@pytest.fixture
def stream(rgb: NDArray[np.uint8]) -> Iterator[str]:
    """The URL of a network camera that ends after some frames."""
    jpeg = cv2.imencode(".jpg", rgb[..., ::-1])[1].tobytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            for _ in range(20):
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
                time.sleep(1 / videos.RATE_HZ)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/head"
        server.shutdown()
        thread.join()


def test_slow_reader_receives_the_newest_frame(talk: Path, rgb: NDArray[np.uint8]) -> None:
    numbers = []
    with Camera(str(talk)) as camera:
        assert not camera.live
        for image in camera:
            numbers.append(image.number)
            assert image.stamp_s == pytest.approx(image.number / videos.RATE_HZ, abs=1e-3)
            frame = np.roll(rgb, 2 * image.number, axis=1)
            assert np.abs(image.rgb.astype(int) - frame).mean() < 8
            time.sleep(0.15)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 19
    assert len(numbers) < 15


def test_reader_can_stop_early(talk: Path) -> None:
    with Camera(str(talk)) as camera:
        assert next(iter(camera)).rgb.shape == (512, 512, 3)
    assert "camera" not in {thread.name for thread in threading.enumerate()}


def test_stream_has_the_stamps_of_the_grab(stream: str) -> None:
    with Camera(stream) as camera:
        assert camera.live
        stamps = [image.stamp_s for image in camera]
    assert stamps == sorted(stamps)
    assert 0 <= stamps[0] <= stamps[-1] < 60  # from the first one on, not since the machine's start
    assert stamps[-1] > 0


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (
            "77",
            "77: /dev/video77 does not exist; cameras .*: .*a number, a path, a URL or a video",
        ),
        ("/dev/video77", "/dev/video77 does not exist"),
        ("/dev/null", "/dev/null: cannot be opened; no camera, or in use"),
        ("http://127.0.0.1:9/x", "cannot be opened; no video at this URL"),
        (__file__, "not a video that can be read"),
    ],
)
def test_device_that_is_no_camera_is_refused(device: str, text: str) -> None:
    with pytest.raises(VideoError, match=text):
        Camera(device)


def test_missing_camera_is_one_line(tmp_path: Path) -> None:
    line = refusal(esr(tmp_path, "camera", "77", "--csv", "x.csv"))
    assert line.startswith("esr camera: 77: /dev/video77 does not exist; cameras on this machine: ")
    assert list(tmp_path.iterdir()) == []


def test_json_and_csv_agree(tmp_path: Path, talk: Path) -> None:
    done = esr(tmp_path, "camera", talk.name, "--json", "--csv", "x.csv")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert set(lines[0]) == {"camera", "frame", "stamp_s", "faces"}
    assert lines[-1]["frame"] == 19
    assert {(f["face_id"], f["label"]) for each in lines for f in each["faces"]} == {(1, "happy")}
    assert [f.number for f in read_csv(tmp_path / "x.csv")] == [each["frame"] for each in lines]
    again = refusal(esr(tmp_path, "camera", talk.name, "--csv", "x.csv"))
    assert "x.csv already exists; add --overwrite" in again
    for read in (("--model", "x.csv"), ("--detector-model", "x.csv")):
        line = refusal(esr(tmp_path, "camera", "77", *read, "--csv", "x.csv", "--overwrite"))
        assert "--csv would overwrite x.csv, which is read" in line


def test_camera_that_ends(tmp_path: Path, stream: str) -> None:
    done = esr(tmp_path, "camera", stream, "--json", "--csv", "x.csv")
    assert refusal(done) == f"esr camera: {stream}: delivers no more frames"
    assert len(list(read_csv(tmp_path / "x.csv"))) == len(done.stdout.splitlines()) > 0


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_table_in_the_terminal_until_a_key(
    tmp_path: Path, rgb: NDArray[np.uint8], key: bytes
) -> None:
    videos.write(tmp_path / "long.mp4", [rgb] * 900)
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
        while process.poll() is None:  # writing to a terminal that is not read blocks
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
