"""Parameters and their checks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ament_index_python.packages import get_package_share_directory
from rclpy.parameter import Parameter

from esr_core.errors import OptionError
from esr_core.options import options
from esr_ros.parameters import NodeOptions, _shared, as_yaml, changed, descriptor

CONFIG = Path(get_package_share_directory("esr_ros")) / "config"


def test_default_yaml_is_generated_from_the_dataclass() -> None:
    text = (CONFIG / "default.yaml").read_text(encoding="utf-8")
    assert text.split("\n", 1)[1] == as_yaml("emotion_node")


@pytest.mark.parametrize("name", ["default", "jetson_tx2", "jetson_xavier"])
def test_every_config_is_allowed(name: str) -> None:
    content = yaml.safe_load((CONFIG / f"{name}.yaml").read_text(encoding="utf-8"))
    NodeOptions(**content["/**/emotion_node"]["ros__parameters"])


def test_live_change() -> None:
    after = changed(NodeOptions(), [Parameter("min_score", value=0.9)])
    assert after.min_score == 0.9


def test_an_unconfigured_node_takes_all_parameters() -> None:
    change = [Parameter("model", value="x.onnx"), Parameter("image_topics", value=["left"])]
    after = changed(NodeOptions(), change, is_configured=False)
    assert (after.model, after.image_topics) == ("x.onnx", ["left"])
    with pytest.raises(OptionError, match="image_topics must be a list of one word or more"):
        changed(NodeOptions(), [Parameter("image_topics", value=[])], is_configured=False)


@pytest.mark.parametrize("branches", [3, "adaptive"])
def test_word_or_number(branches: object) -> None:
    assert changed(NodeOptions(), [Parameter("branches", value=branches)]).branches == branches


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("min_scores", 0.9, r"unknown parameter min_scores \(nearest: min_score.*\); known are a"),
        ("xyz", 0.9, "unknown parameter xyz; known are annotated_image, "),
        ("model", "x.onnx", "model cannot be changed at run time"),
        ("max_faces", -1, "max_faces must be from 0 to 256, but got -1"),
        ("min_score", "high", "min_score must be a float"),
        ("branches", "most", "branches must be adaptive, or a whole number from 1 to 64"),
    ],
)
def test_refused_change(name: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        changed(NodeOptions(), [Parameter(name, value=value)])


def test_warning_comes_before_the_error() -> None:
    with pytest.raises(OptionError, match="latency_warn_s must be at most latency_error_s, but"):
        NodeOptions(latency_warn_s=2.0)
    with pytest.raises(OptionError, match="dropped_warn must be at most dropped_error, but"):
        changed(NodeOptions(), [Parameter("dropped_error", value=0.1)])


def test_external_detections_are_for_one_image_topic() -> None:
    with pytest.raises(OptionError, match="for one image topic, but image_topics has more"):
        NodeOptions(image_topics=["left/image_raw", "right/image_raw"], detections_topic="faces")


def test_descriptors_carry_bounds_and_text() -> None:
    described = {o.name: descriptor(o) for o in options(NodeOptions)}
    assert described["min_score"].floating_point_range[0].to_value == 1.0
    assert described["max_faces"].integer_range[0].from_value == 0
    assert "one of best_effort, reliable" in described["reliability"].additional_constraints
    assert described["branches"].dynamic_typing
    assert "one of adaptive; or a number from 1 to 64" in (
        described["branches"].additional_constraints
    )
    assert all(d.description for d in described.values())


def test_launch_files_need_none_of_pips_packages() -> None:
    """``ros2 launch`` runs in the system's Python, which does not have them."""
    absent = ("cv2", "onnxruntime", "rich", "ruamel", "scipy", "torch")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "import esr_core.options, esr_ros.dashboard.options, esr_ros.runtime.fast_dds"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/")


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "/**: {ros__parameters: {a: 1}}\n" * 2])
def test_shared_files_that_are_empty_or_have_a_key_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """ROS accepts both."""
    mine, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    mine.write_text("/**: {ros__parameters: {robot: r2}}\n/**: {ros__parameters: {fps: 30}}\n")
    other.write_text(text)
    files = ["--params-file", str(mine), "--params-file", str(other)]
    monkeypatch.setattr(sys, "argv", ["node", *files])
    assert {"robot", "fps"} <= _shared("/")
