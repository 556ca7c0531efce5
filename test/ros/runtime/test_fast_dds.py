"""The environment of Fast DDS, and its profile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from esr_ros.runtime import fast_dds

TRANSPORTS = "FASTDDS_BUILTIN_TRANSPORTS"
OLDER = os.environ["ROS_DISTRO"] in fast_dds.OLDER
PROFILES = f"{'FASTRTPS' if OLDER else 'FASTDDS'}_DEFAULT_PROFILES_FILE"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRANSPORTS, raising=False)
    monkeypatch.delenv(PROFILES, raising=False)


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(fast_dds.environment()) == {TRANSPORTS, PROFILES}
    assert fast_dds.environment()[TRANSPORTS] == fast_dds.SHARED_MEMORY
    monkeypatch.setenv(TRANSPORTS, "UDPv4")
    assert set(fast_dds.environment()) == {PROFILES}


def test_humble_knows_the_older_name_and_gets_no_transports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROS_DISTRO", "humble")
    assert set(fast_dds.environment()) == {"FASTRTPS_DEFAULT_PROFILES_FILE"}


def test_fast_dds_takes_the_profile_without_a_word(tmp_path: Path) -> None:
    code = "import rclpy; rclpy.init(); rclpy.create_node('anybody'); rclpy.shutdown()"
    outputs = []
    profile = Path(fast_dds.environment()[PROFILES])
    broken = tmp_path / "broken.xml"
    broken.write_text(profile.read_text(encoding="utf-8").replace("leaseAnnouncement", "lease"))
    for file in (profile, broken):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, PROFILES: str(file)},
            capture_output=True,
            text=True,
            check=True,
        )
        outputs.append(done.stdout + done.stderr)
    assert outputs[0] == ""
    assert "lease" in outputs[1]  # so it reads the file, and would complain
