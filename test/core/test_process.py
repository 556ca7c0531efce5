"""The cores that a process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from esr_core.process import cores_of_mask, usable_cores

#: Prints the cores, the threads that a session starts, and those pinned outside of the mask.
COUNT = """
import os, sys
os.sched_setaffinity(0, {0})
from esr_core.inference.onnx_model import load_model
from esr_core.process import cores_of_mask, usable_cores
before = set(os.listdir("/proc/self/task"))
model = load_model()
started = set(os.listdir("/proc/self/task")) - before
print(usable_cores(), len(started), [t for t in started if os.sched_getaffinity(int(t)) != {0}])
"""


def test_cores_and_threads_are_those_of_the_mask() -> None:
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1 0 []\n", "")
    assert usable_cores() <= len(os.sched_getaffinity(0))


#: Prints the logical processors of the threads that a session starts.
PLACES = """
import os
from esr_core.inference.onnx_model import load_model
before = set(os.listdir("/proc/self/task"))
model = load_model(threads={0})
started = set(os.listdir("/proc/self/task")) - before
print(sorted(sorted(os.sched_getaffinity(int(thread))) for thread in started))
"""


@pytest.mark.parametrize("more", [0, 1])
def test_each_thread_has_a_core_of_its_own_unless_there_are_more_or_fewer(more: int) -> None:
    mask, (_, *others) = sorted(os.sched_getaffinity(0)), cores_of_mask()
    threads = usable_cores() + more
    own = len(others) + 1 == threads
    script = PLACES.format(threads)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    places = others if own else [mask] * (threads - 1)
    assert (done.stdout, done.stderr) == (f"{places}\n", "")


def test_hardware_threads_of_a_core_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4, 6})
    for number in range(8):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        topology.mkdir(parents=True)
        topology.joinpath("thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    assert usable_cores(tmp_path) == 3
    assert cores_of_mask(tmp_path) == [[0, 4], [1], [6]]


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 8),
        ("0::/\n", {}, 8),
        ("0::/pod/box\n", {"pod/cpu.max": "200000 100000", "pod/box/cpu.max": "max 100000"}, 2),
        # Docker without a namespace of cgroups: the own path is that of the host.
        ("0::/docker/0123\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "5:memory:/\n4:cpu,cpuacct:/docker/0123\n1:cpuset:/\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        (
            "4:cpu,cpuacct:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
    ],
)
def test_quota_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    texts = {"proc/self/cgroup": own, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
    assert usable_cores(tmp_path) == cores


def test_system_without_cgroups(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))
