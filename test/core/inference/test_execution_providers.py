"""Selection of execution providers, and errors of those that do not work."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from esr_core import Model, ModelError, load_model
from esr_core.inference import execution_providers
from esr_core.inference.execution_providers import SIZES, Provider
from esr_core.inference.onnx_model import ADAPTIVE, _filled, default_model

# Only the CPU is available: the others are reported as available to the real ONNX Runtime.
pytestmark = pytest.mark.filterwarnings("ignore:Specified provider")


@pytest.fixture
def cuda_without_device(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)


def test_only_the_cpu_is_available() -> None:
    assert execution_providers.installed() == ["cpu"]


@pytest.mark.parametrize("key", ["tensorrt", "cuda", "openvino"])
def test_missing_provider_names_the_available_ones(key: str) -> None:
    with pytest.raises(ModelError, match=f"has no provider '{key}', only cpu"):
        load_model(provider=key)


@pytest.mark.usefixtures("cuda_without_device")
def test_named_provider_that_does_not_start_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"'cuda' is in this build .* does not start here"):
        load_model(provider="cuda")


@pytest.mark.usefixtures("cuda_without_device")
def test_auto_falls_back_to_the_cpu_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_model(provider="auto")
    assert model.provider == "CPUExecutionProvider"
    assert "'cuda' is in this build" in caplog.text
    assert "trying the next provider" in caplog.text


def test_all_branches_are_evaluated_where_optional_inputs_are_constants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not execution_providers._PROVIDERS["openvino"].has_optional_inputs
    like_openvino = Provider("CPUExecutionProvider", has_optional_inputs=False)
    monkeypatch.setitem(execution_providers._PROVIDERS, "cpu", like_openvino)
    model = load_model(provider="cpu")
    assert not model.has_early_exit
    size = model.metadata.input.size_px
    assert (model.predict(np.zeros((1, 3, size, size), np.float32), ADAPTIVE).votes >= 0).all()


@pytest.mark.parametrize("name", ["Tensorrt", "OpenVINO"])
def test_auto_does_not_select(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    names = [f"{name}ExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    assert load_model(provider="auto").provider == "CPUExecutionProvider"
    assert not caplog.text, "it was not tried"


def test_tensorrt_keeps_its_engines_and_serves_all_sizes_with_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("engines")
    options = execution_providers._tensorrt_options(default_model(), folder)
    assert options["trt_engine_cache_enable"]
    assert options["trt_engine_cache_path"] == str(folder)
    assert options["trt_int8_enable"]
    side = load_model().metadata.input.size_px
    assert options["trt_profile_max_shapes"] == f"faces:{SIZES[-1]}x3x{side}x{side}"
    monkeypatch.setattr(onnxruntime, "__version__", "1.11.0")  # JetPack 4.6
    old = execution_providers._tensorrt_options(default_model(), folder)
    assert set(options) - set(old) == {
        "trt_timing_cache_enable",
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_profile_max_shapes",
    }


def test_tensorrt_without_a_device_and_damaged_files_are_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(ModelError, match=r"'tensorrt' is in this build .* does not start here"):
        load_model(provider="tensorrt")
    path = tmp_path / "short.onnx"
    path.write_bytes(default_model().read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"short\.onnx: ONNX Runtime does not load it"):
        load_model(path, provider="tensorrt")


def test_engine_folder_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "esr_ros").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ["TensorrtExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    with pytest.raises(ModelError, match=r"esr_ros/tensorrt.*: no engine can be kept there"):
        load_model(provider="tensorrt")


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


def test_padded_batches_have_the_same_outputs(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = model.metadata.input.size_px
    batch = np.random.default_rng(0).random((7, 3, side, side), np.float32)
    expected = model.predict_branches(batch)
    sizes = (1, 2, 4)
    monkeypatch.setitem(
        execution_providers._PROVIDERS, "cpu", Provider(execution_providers.CPU, sizes)
    )
    other = load_model(provider="cpu")
    batches: list[int] = []
    monkeypatch.setattr(other, "_session", Counting(other._session, batches))
    for output, exact in zip(other.predict_branches(batch), expected):
        np.testing.assert_allclose(output, exact, atol=1e-3)
    assert batches == [4, 4]
    batches.clear()
    other.warm_up(faces=3)
    assert batches == [1, 2, 4]


class Counting:
    """A session that records the size of each batch."""

    def __init__(self, session: onnxruntime.InferenceSession, batches: list[int]) -> None:
        self._session, self._batches = session, batches

    def run(
        self, names: list[str], inputs: dict[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        self._batches.append(len(inputs["faces"]))
        outputs: list[NDArray[np.float32]] = self._session.run(names, inputs)
        return outputs
