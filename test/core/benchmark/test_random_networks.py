"""Untrained networks for timing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esr_core import load_model
from esr_core.benchmark.random_networks import UNDECIDED, faces, make
from esr_core.inference.onnx_model import ADAPTIVE
from esr_core.network.complexity import METHODS


@pytest.mark.parametrize("method", ["ESR-9", "ESR*-9"])
def test_first_branch_leaves_the_share_of_the_trained_one_undecided(
    tmp_path: Path, method: str
) -> None:
    model = load_model(make((*METHODS[method], 56), tmp_path, ["fp32"])["fp32"])
    assert (model.metadata.branches, model.metadata.diversified) == METHODS[method]
    images = faces(56)
    assert images.shape == (100, 3, 56, 56)
    evaluated = np.concatenate(
        [
            (model.predict(images[i : i + 20], ADAPTIVE).votes >= 0).sum(1)
            for i in (0, 20, 40, 60, 80)
        ]
    )
    assert (evaluated > 1).mean() == pytest.approx(UNDECIDED, abs=0.03)
