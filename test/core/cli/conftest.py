"""A photograph, weights and data for the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from esr_core.inference.metadata import ModelMetadata
from esr_core.network import checkpoint
from esr_core.network.esr import ESR
from esr_core.perception.preprocessing import InputSpec

MakeFerPlus = Callable[[str, int], Path]


@pytest.fixture
def photo(tmp_path: Path, rgb: NDArray[np.uint8]) -> Path:
    path = tmp_path / "astronaut.png"
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    network = ESR(1)
    metadata = ModelMetadata(network.name, 1, input=InputSpec(size_px=56))
    checkpoint.save(tmp_path / "weights", network, metadata)
    return tmp_path / "weights"


@pytest.fixture
def data(tmp_path: Path, make_ferplus: MakeFerPlus) -> Path:
    """A folder with FER+ in it."""
    for name in ("train.npz.xz", "valid.npz.xz"):
        make_ferplus(name, 24)
    return tmp_path


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with ten happy and ten sad faces; the grey stands for the emotion."""
    for i in range(20):
        label = ("happy", "sad")[i % 2]
        path = tmp_path / "own" / label / f"{i}.bmp"  # the bytes decide about its split
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 30, (50, 50)) + i % 2 * 200
        assert cv2.imwrite(str(path), noise.astype(np.uint8))
    return tmp_path / "own"
