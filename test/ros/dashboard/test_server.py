"""The server of the live page: who is refused, errors at the start, and its end."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Iterator

import pytest
from live_page import Program, get, port_of, receive
from programs import wait_until_begun
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

TOKEN = "a+b c/&é secret"
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}
#: A program in a Python that has no aiohttp.
WITHOUT_AIOHTTP = """
import sys
sys.modules["aiohttp"] = None
from esr_ros.dashboard.dashboard_node import main
sys.argv = ["emotion_dashboard"]
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 200),
        ("/", {"Host": "localhost:1234"}, 200),  # a forwarded port
        ("/", {"Host": "[::1]:8080"}, 200),
        ("/", {"Host": "rebound.example:8080"}, 403),
        ("/", {"Host": "127.0.0.1.rebound.example"}, 403),
        ("/", {"Host": "[::1"}, 403),
        ("/ws", {"Host": "rebound.example", **UPGRADE}, 403),
        ("/ws", {"Origin": "http://elsewhere.example", **UPGRADE}, 403),
        ("/ws", {"Origin": "null", **UPGRADE}, 403),
        ("/ws", {"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:2", **UPGRADE}, 403),
        ("/ws", {"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:1", **UPGRADE}, 101),
        ("/ws", {}, 400),
        ("/../server.py", {}, 404),
    ],
)
def test_local_page(dashboard: Program, path: str, headers: Any, status: int) -> None:
    port = port_of(dashboard.url())
    if status == 101:  # which has no end
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            assert connection.recv(20).startswith(b"HTTP/1.1 101 ")
    else:
        assert get(port, path, **headers)[0] == status


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Any]:
    """Start a dashboard for other machines."""
    started = []

    def start(*parameters: str) -> Program:
        log = tmp_path / f"remote{len(started)}"
        started.append(Program(log, "emotion_dashboard", "port:=0", "host:=0.0.0.0", *parameters))
        return started[-1]

    yield start
    for each in started:
        assert each.stop(signal.SIGTERM) == 0


def test_other_machines_need_the_token_of_the_log(remote: Any) -> None:
    program = remote()
    url = program.url()
    assert "other machines can reach this page" in program.said
    ((port, token),) = re.findall(rf"http://{socket.gethostname()}:(\d+)/\?token=(\S+)", url)
    assert len(token) > 20
    for path in ("/", "/ws"):
        for wrong in ("", "?token=", f"?token={token}x", "?token=%ff", f"?other={token}"):
            assert get(int(port), path + wrong, **UPGRADE)[0] == 403
    assert get(int(port), f"/?token={token}", Host="robot.example")[0] == 200
    foreign = {"Origin": "http://elsewhere.example", **UPGRADE}
    assert get(int(port), f"/ws?token={token}", **foreign)[0] == 403
    address = f"http://127.0.0.1:{port}/?token={token}"
    texts, _ = asyncio.run(receive(address, lambda texts, pictures: len(texts) > 1))
    assert texts[0] == {"history": []}
    assert texts[1]["cameras"] == []


def test_token_by_parameter(remote: Any) -> None:
    program = remote(f"token:='{TOKEN}'")
    url = program.url()
    assert url.isascii()
    assert get(port_of(url), "/" + url.partition("/?")[2].join(["?", ""]))[0] == 200
    assert get(port_of(url))[0] == 403


def refusal(*parameters: str) -> str:
    words = [word for each in parameters for word in ("-p", each)]
    command = ["emotion_dashboard", "--ros-args", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done
    (line,) = done.stderr.splitlines()
    return line


def test_port_in_use(dashboard: Program) -> None:
    port = port_of(dashboard.url())
    line = refusal(f"port:={port}")
    begin = f"emotion_dashboard: cannot serve on port {port} of 127.0.0.1: Address already in use"
    assert line.startswith(begin)
    assert "choose others by -p port:=" in line


@pytest.mark.parametrize(
    ("parameter", "error"),
    [
        ("port:=65536", "port must be from 0 to 65535"),
        ("token:=short", "token must have at least 8 characters"),
        ("rate_hz:=0.0", "rate_hz must be from 0.5 to 30"),
        ("rate:=5.0", "unknown parameter rate (nearest: rate_hz)"),
        ("host:=''", "host must be an address"),
        ("host:=no.such.host.invalid", "of no.such.host.invalid: "),
        ("host:=robot..local", "of robot..local: "),
        ("host:=192.0.2.1", "of 192.0.2.1: Cannot assign requested address"),
        ("emotion_topics:=['']", "emotion_topics must be a list"),
    ],
)
def test_wrong_parameters_are_one_line(parameter: str, error: str) -> None:
    assert error in refusal(parameter)


def test_parameters_are_those_of_the_start(dashboard: Program, robot: Any) -> None:
    dashboard.url()
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=2.0)
    request = SetParameters.Request(parameters=[Parameter(name="rate_hz", value=value)])
    me = robot(image_topic="none")
    (result,) = me.call(SetParameters, "/emotion_dashboard/set_parameters", request).results
    assert not result.successful
    assert result.reason.startswith("rate_hz cannot be changed at run time")


def test_without_aiohttp(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_AIOHTTP]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("emotion_dashboard: aiohttp is not installed; run 'pip install aiohttp'")


def test_help_has_examples_and_parameters() -> None:
    command = ["emotion_dashboard", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "emotion_dashboard --ros-args -p host:=0.0.0.0" in done.stdout
    assert 'host              "127.0.0.1"' in done.stdout


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("late_s", [0.0, 0.15, 0.3, 0.6])
def test_stops_at_any_time(tmp_path: Path, stop: signal.Signals, late_s: float) -> None:
    with Program(tmp_path / "log", "emotion_dashboard", "port:=0") as program:
        wait_until_begun(program.process)
        # No condition: the moment is what is tested.
        with pytest.raises(subprocess.TimeoutExpired):
            program.process.wait(late_s)
        assert program.stop(stop) == 0, program.said
    assert "Traceback" not in program.said


def test_more_pages_than_allowed(dashboard: Program) -> None:
    port = port_of(dashboard.url())
    lines = ["GET /ws HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    request = "\r\n".join([*lines, *(f"{k}: {v}" for k, v in UPGRADE.items()), "", ""]).encode()
    answers = []
    with ExitStack() as stack:
        for _ in range(52):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(request)
            answers.append(connection.recv(12))
    assert answers == [b"HTTP/1.1 101"] * 50 + [b"HTTP/1.1 503"] * 2


def test_stops_with_viewers_and_frees_its_port(tmp_path: Path) -> None:
    with Program(tmp_path / "log", "emotion_dashboard", "port:=0") as program:
        url = program.url()
        began_s = []

        def stop_it(texts: list[Any], pictures: list[bytes]) -> bool:
            if len(texts) == 3:  # the history and two states
                began_s.append(time.monotonic())
                program.process.send_signal(signal.SIGINT)
            return False

        with pytest.raises(AssertionError, match="the connection has ended"):
            asyncio.run(receive(url, stop_it))
        assert program.stop() == 0
        assert time.monotonic() - began_s[0] < 5
        assert "Traceback" not in program.said
        with socket.create_server(("127.0.0.1", port_of(url))):
            pass
