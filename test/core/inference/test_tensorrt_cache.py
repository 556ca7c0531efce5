"""The engine cache of TensorRT: one folder per network and device, shared by processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from esr_core.inference.tensorrt_cache import UNFINISHED, engine_folder, locked

ENGINE = b"engine" * 1000
#: Loads the engine of a folder, or builds it in two halves. With "hang" the build never ends.
NODE = f"""
import sys, time
from pathlib import Path
from esr_core.inference.tensorrt_cache import locked

folder, build = Path(sys.argv[1]), sys.argv[2]
engine = folder / "net.engine"
print("ready", flush=True)
sys.stdin.readline()
with locked(folder):
    if engine.exists():
        assert engine.read_bytes() == {ENGINE!r}, "half an engine"
        print("loaded", flush=True)
    else:
        with open(engine, "xb") as file:
            file.write({ENGINE!r}[:3000])
            file.flush()
            print("building", flush=True)
            time.sleep(600 if build == "hang" else 1)
            assert engine.exists(), "removed by another process"
            file.write({ENGINE!r}[3000:])
        print("built", flush=True)
"""


def start(folder: Path, build: str = "") -> subprocess.Popen[str]:
    """Start a process that waits for a line before it opens the cache."""
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(folder), build],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder.parent,
    )
    assert node.stdout is not None
    assert node.stdout.readline() == "ready\n"
    return node


def test_each_network_version_and_device_has_its_own_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.2")
    one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
    one.write_bytes(b"one")
    other.write_bytes(b"other")
    folder = engine_folder(one, "NVIDIA Jetson AGX Xavier / 32 GB")
    assert folder.parent == (
        tmp_path / "esr_ros" / "tensorrt-1.23.2" / "NVIDIA_Jetson_AGX_Xavier_32_GB"
    )
    folders = {folder, engine_folder(one, "NVIDIA Jetson TX2")}
    folders.add(engine_folder(other, "NVIDIA Jetson AGX Xavier / 32 GB"))
    monkeypatch.setattr(onnxruntime, "__version__", "1.15.1")
    folders.add(engine_folder(one, "NVIDIA Jetson AGX Xavier / 32 GB"))
    assert len(folders) == 4
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert engine_folder(one, "").is_relative_to(tmp_path / "home" / ".cache" / "esr_ros")


def test_finished_engine_is_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "engines"
    with locked(folder):
        (folder / "net.engine").write_bytes(ENGINE)
    for _ in range(2):
        with locked(folder):
            assert (folder / "net.engine").read_bytes() == ENGINE
    assert [path.name for path in folder.iterdir()] == ["net.engine"]


def test_two_processes_that_start_at_once_build_one_engine(tmp_path: Path) -> None:
    nodes = [start(tmp_path / "engines") for _ in range(2)]
    for node in nodes:
        assert node.stdin is not None
        node.stdin.write("go\n")
        node.stdin.flush()
    done = [node.communicate(timeout=60) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], done
    assert sorted(out for out, _ in done) == ["building\nbuilt\n", "loaded\n"]
    assert sum("waiting for another process" in errors for _, errors in done) == 1
    assert (tmp_path / "engines" / "net.engine").read_bytes() == ENGINE


def test_engine_of_a_killed_build_is_built_again(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    killed = start(folder, "hang")
    assert killed.stdin is not None
    assert killed.stdout is not None
    killed.stdin.write("go\n")
    killed.stdin.flush()
    assert killed.stdout.readline() == "building\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert (folder / "net.engine").stat().st_size == 3000
    out, errors = start(folder).communicate("go\n", timeout=60)
    assert out == "building\nbuilt\n", errors
    assert not (folder / UNFINISHED).exists()


def test_engine_that_does_not_load_is_built_again(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    with locked(folder):
        (folder / "net.engine").write_bytes(b"enGine")
    with pytest.raises(RuntimeError, match="deserialize"), locked(folder):
        raise RuntimeError("TensorRT EP failed to deserialize engine")
    with locked(folder):
        assert not (folder / "net.engine").exists()
