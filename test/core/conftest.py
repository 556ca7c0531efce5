"""What several tests of the learner share: a photograph, a network, and made-up data."""

from __future__ import annotations

import io
import lzma
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from esr_core import Model, load_model
from esr_core.data.ferplus import VOTE_COLUMNS

MakeFerPlus = Callable[[str, int], Path]

#: Folders and files whose tests train, export or time networks, open a browser, or start many
#: processes.
SLOW = {
    *("benchmark", "cli", "network", "training"),
    *("test_atomic_write.py", "test_camera.py", "test_html.py", "test_image.py"),
    *("test_learner.py", "test_progress.py", "test_robustness.py", "test_train_your_own.py"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ``make test-fast`` leaves out."""
    for item in items:
        if SLOW & set(item.path.parts):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def rgb() -> NDArray[np.uint8]:
    """A photograph of one smiling astronaut, (512, 512, 3); her face is near (178, 63)."""
    return np.array(skimage.data.astronaut())


@pytest.fixture(scope="session")
def model() -> Model:
    """The network that ships."""
    return load_model()


@pytest.fixture
def make_ferplus(tmp_path: Path) -> MakeFerPlus:
    """Write a file in FER+'s form: noisy faces whose grey says which emotion has the votes."""

    def make(name: str, count: int) -> Path:
        random = np.random.default_rng(7)
        winner = np.arange(count) % 8
        images = random.integers(0, 30, (count, 48, 48)) + winner[:, None, None] * 30
        votes = np.zeros((count, len(VOTE_COLUMNS)), np.uint8)
        votes[np.arange(count), winner] = 8
        votes[np.arange(count), (winner + 1) % 8] += 2
        content = io.BytesIO()
        np.savez(content, images=images.astype(np.uint8), votes=votes)
        path = tmp_path / name
        packed = path.suffix == ".xz"
        path.write_bytes(lzma.compress(content.getvalue()) if packed else content.getvalue())
        return path

    return make
