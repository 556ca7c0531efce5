"""Engines that a provider built: kept for what they fit, refused where they are damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from esr_core import ModelError
from esr_core.inference.tensorrt_cache import NOTE, EngineKey, prepare, seal

KEY = EngineKey("ab" * 32, "tensorrt-1.23.2", "NVIDIA Jetson AGX Xavier / 32 GB")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With an engine in it, sealed."""
    place = tmp_path / "engines"
    prepare(place, KEY)
    (place / "net.engine").write_bytes(b"engine")
    (place / "net.timing").write_bytes(b"timing")
    seal(place, KEY)
    return place


def test_each_network_provider_and_device_has_its_own_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keys = [
        KEY,
        replace(KEY, model_sha256="cd" * 32),
        replace(KEY, provider="tensorrt-1.15.1"),
        replace(KEY, device="NVIDIA Jetson TX2"),
    ]
    assert len({key.folder for key in keys}) == 4
    assert KEY.folder.parent == (
        tmp_path / "esr_ros" / "tensorrt-1.23.2" / "NVIDIA_Jetson_AGX_Xavier_32_GB"
    )
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert KEY.folder.is_relative_to(tmp_path / "home" / ".cache" / "esr_ros")


def test_what_was_sealed_is_used_again(folder: Path) -> None:
    prepare(folder, KEY)
    assert (folder / "net.engine").read_bytes() == b"engine"


def test_what_was_left_half_is_removed(tmp_path: Path) -> None:
    (tmp_path / "net.engine").write_bytes(b"half an eng")
    prepare(tmp_path, KEY)
    assert list(tmp_path.iterdir()) == []


def test_damaged_engine_is_named_and_left(folder: Path) -> None:
    (folder / "net.engine").write_bytes(b"enGine")
    with pytest.raises(ModelError, match=r"net\.engine: damaged; remove its folder"):
        prepare(folder, KEY)
    assert (folder / "net.engine").read_bytes() == b"enGine"


def test_missing_engine_is_named(folder: Path) -> None:
    (folder / "net.timing").unlink()
    with pytest.raises(ModelError, match=r"net\.timing: damaged"):
        prepare(folder, KEY)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', b"\xff\xfe"])
def test_damaged_note_is_named(folder: Path, text: str | bytes) -> None:
    (folder / NOTE).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ModelError, match=r"engine\.json: damaged|is for model_sha256 None"):
        prepare(folder, KEY)


@pytest.mark.parametrize(
    ("field", "value"),
    [("device", "NVIDIA Jetson TX2"), ("provider", "tensorrt-1.11.0"), ("model_sha256", "0" * 64)],
)
def test_engine_of_something_else_is_refused(folder: Path, field: str, value: str) -> None:
    here = replace(KEY, **{field: value})
    with pytest.raises(ModelError, match=f"is for {field} .*, not {value}; remove this folder"):
        prepare(folder, here)
