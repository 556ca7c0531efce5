"""The device of a training, and the precision that suits it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from esr_core import OptionError
from esr_core.training.device import cpu_has_bf16, resolve_precision, select_device

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cpu:0", "CPU"])
def test_names_that_are_no_device(name: str) -> None:
    with pytest.raises(OptionError, match="device must be cpu, cuda or such as cuda:1, but got"):
        select_device(name)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse2 avx2 avx512f avx512_bf16 avx512_vnni", True),
        ("fpu sse2 avx2 amx_bf16 amx_tile amx_int8", True),
        ("fpu sse2 avx2 avx512f avx512_vnni", False),
        ("fp asimd i8mm bf16", False),  # of ARM, where oneDNN has no bf16 convolution to train
    ],
)
def test_cpu_has_bf16_by_its_instructions(tmp_path: Path, flags: str, expected: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: CPU bf16\nflags\t\t: {flags}\n\n" * 2)
    assert cpu_has_bf16(cpuinfo) is expected


def test_system_without_proc_has_no_known_bf16(tmp_path: Path) -> None:
    assert not cpu_has_bf16(tmp_path / "none")


def test_auto_is_the_precision_of_this_cpu() -> None:
    assert resolve_precision("auto", CPU) == ("bf16" if cpu_has_bf16() else "fp32")
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("fp32", CPU) == "fp32"
