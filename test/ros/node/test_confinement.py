"""Network connections and files of a running node: those of ROS and of its parameters only."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Photo = NDArray[np.uint8]
#: Python runs it before the node: an audit hook that records files, sockets and processes.
WATCH = """
import os, sys
out = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        mode, flags = arguments[1], arguments[2]
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR))
        os.write(out, f"{'write' if writes else 'read'} {os.fsdecode(arguments[0])}\\n".encode())
    elif event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "urllib.")):
        os.write(out, f"{event} {arguments[-1]}\\n".encode())
sys.addaudithook(hook)
"""


def connections(pid: int) -> set[str]:
    """Remote ends of a process's TCP connections, as the kernel writes them."""
    sockets = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            sockets.add(os.readlink(handle))
        except OSError:
            continue  # closed meanwhile
    remote = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text("ascii").splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in sockets and fields[3] == "01":
                remote.add(fields[2])
    return remote


def test_a_connection_would_be_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = connections(os.getpid())
        with socket.create_connection(server.getsockname()):
            assert len(connections(os.getpid()) - before) == 1


def test_node_keeps_to_itself(
    start: Any, robot: Any, photograph: Photo, to_image: Any, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    watched = tmp_path / "watched.txt"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {
        "PYTHONPATH": path,
        "PYTHONDONTWRITEBYTECODE": "1",
        "WATCHED": str(watched),
    }
    node = start("-p", "reliability:=reliable", environment=environment)
    me = robot()
    me.meet(to_image(photograph))
    for _ in range(3):
        assert len(me.ask(to_image(photograph)).emotions) == 1
    time.sleep(1.5)  # diagnostics
    # The robot of this test uses no TCP, so each connection would be one to another process.
    assert connections(node.process.pid) == set()
    node.process.terminate()
    node.process.wait(timeout=10)
    did = watched.read_text("utf-8").splitlines()
    assert any("rclpy" in line for line in did), "the watch works"
    assert {line for line in did if line.startswith("write ")} <= {"write /dev/null"}
    # Other events are sockets and programs.
    assert [line for line in did if not line.startswith(("read ", "write "))] == []
    software = [sys.prefix, sys.base_prefix, *os.environ["AMENT_PREFIX_PATH"].split(":")]
    homes = [*software, "/usr", "/proc", "/sys", "/dev", "/etc", str(tmp_path)]
    allowed = tuple(os.path.realpath(home) + "/" for home in homes)
    read = {os.path.realpath(line[5:]) for line in did if line.startswith("read ")}
    assert {path for path in read if not path.startswith(allowed)} == set()
