"""Execution providers: which is taken, and what is said of one that does not work."""

from __future__ import annotations

import logging

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from esr_core import Model, ModelError, load_model
from esr_core.inference import execution_providers
from esr_core.inference.execution_providers import SIZES, Provider
from esr_core.inference.onnx_model import _filled, default_model

# Nothing but the CPU is here: the others are said to be there, and the real ONNX Runtime is asked.
pytestmark = pytest.mark.filterwarnings("ignore:Specified provider")


@pytest.fixture
def cuda_without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)


def test_cpu_is_what_is_here() -> None:
    assert execution_providers.installed() == ["cpu"]


@pytest.mark.parametrize("key", ["tensorrt", "cuda", "openvino"])
def test_missing_provider_names_those_there_are(key: str) -> None:
    with pytest.raises(ModelError, match=f"has no provider '{key}', only cpu"):
        load_model(provider=key)


@pytest.mark.usefixtures("cuda_without_device")
def test_provider_that_does_not_start_is_an_error_when_asked_for() -> None:
    with pytest.raises(ModelError, match=r"'cuda' is in this build .* does not start here"):
        load_model(provider="cuda")


@pytest.mark.usefixtures("cuda_without_device")
def test_auto_falls_back_to_the_cpu_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_model(provider="auto")
    assert model.provider == "CPUExecutionProvider"
    assert "'cuda' is in this build" in caplog.text
    assert "the next provider is tried" in caplog.text


def test_auto_does_not_take_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    assert load_model(provider="auto").provider == "CPUExecutionProvider"


def test_tensorrt_keeps_its_engines_and_serves_all_sizes_with_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("engines")
    told = execution_providers._tensorrt_options(default_model(), folder)
    assert told["trt_engine_cache_enable"]
    assert told["trt_engine_cache_path"] == str(folder)
    assert told["trt_int8_enable"]
    assert told["trt_profile_max_shapes"] == f"faces:{SIZES[-1]}x3x96x96"
    monkeypatch.setattr(onnxruntime, "__version__", "1.11.0")  # JetPack 4.6
    old = execution_providers._tensorrt_options(default_model(), folder)
    assert set(told) - set(old) == {
        "trt_timing_cache_enable",
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_profile_max_shapes",
    }


@pytest.mark.parametrize(
    ("faces", "pieces"),
    [(1, [1]), (3, [4]), (5, [8]), (64, [64]), (65, [64, 1]), (150, [64, 64, 32])],
)
def test_batches_have_one_of_a_few_sizes(faces: int, pieces: list[int]) -> None:
    batch = np.arange(faces, dtype=np.float32).reshape(-1, 1, 1, 1) + 1
    filled = _filled(batch, SIZES)
    assert [len(piece) for piece in filled] == pieces
    together = np.concatenate(filled)
    np.testing.assert_array_equal(together[:faces], batch)
    assert not together[faces:].any()


def test_filled_batches_are_answered_as_others_are(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = np.random.default_rng(0).random((7, 3, 96, 96), np.float32)
    expected = model.predict_branches(batch)
    sizes = (1, 2, 4)
    monkeypatch.setitem(
        execution_providers._PROVIDERS, "cpu", Provider(execution_providers.CPU, sizes)
    )
    other = load_model(provider="cpu")
    seen: list[int] = []
    monkeypatch.setattr(other, "_session", Counting(other._session, seen))
    for told, wanted in zip(other.predict_branches(batch), expected):
        np.testing.assert_allclose(told, wanted, atol=1e-3)
    assert seen == [4, 4]
    seen.clear()
    other.warm_up(faces=3)
    assert seen == [1, 2, 4]


class Counting:
    """A session that notes how many faces it is asked about."""

    def __init__(self, session: onnxruntime.InferenceSession, seen: list[int]) -> None:
        self._session, self._seen = session, seen

    def run(
        self, names: list[str], inputs: dict[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        self._seen.append(len(inputs["faces"]))
        outputs: list[NDArray[np.float32]] = self._session.run(names, inputs)
        return outputs
