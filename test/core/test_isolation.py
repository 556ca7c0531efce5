"""The learner knows nothing of ROS, and running it needs no PyTorch."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

import esr_core

PACKAGE = Path(esr_core.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROS = {"rclpy", "esr_ros", "sensor_msgs", "std_msgs", "diagnostic_msgs", "launch", "cv_bridge"}
TRAINING = {"torch", "onnx", "yaml", "matplotlib"}
#: Folders and modules that only training, export, checkpoints and benchmarks need.
TRAINERS = (
    *("network/", "training/", "data/affectnet", "learner", "datasets"),
    *("evaluation/model_card", "benchmark/plots", "benchmark/random_networks"),
)
#: Modules of these folders that work without PyTorch as well.
WITHOUT_TORCH = {"network/complexity", "network/__init__", "training/config"}


def name(path: Path) -> str:
    """The name of a module within the package, such as ``data/faces``."""
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


RUN = """
import json, sys
import skimage.data
from esr_core import EmotionPipeline
pipeline = EmotionPipeline()
pipeline.warm_up()
faces = pipeline.step(skimage.data.astronaut(), 0.0)
print(json.dumps({"labels": [face.label for face in faces], "modules": sorted(sys.modules)}))
"""


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """The packages that import statements among the nodes name."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def test_running_needs_neither_ros_nor_pytorch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["labels"] == ["happy"]
    packages = {name.split(".")[0] for name in answer["modules"]}
    assert "esr_core" in packages
    assert packages.isdisjoint(ROS | TRAINING)


def test_learner_is_at_the_front_door_and_comes_when_asked_for() -> None:
    from esr_core import FacialEmotionLearner, learner

    assert FacialEmotionLearner is learner.FacialEmotionLearner
    with pytest.raises(ImportError, match="Learner2"):
        exec("from esr_core import Learner2")


def test_without_pytorch_the_learner_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    done = subprocess.run(
        [sys.executable, "-c", "from esr_core import *\nfrom esr_core import FacialEmotionLearner"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "FacialEmotionLearner needs torch; run" in done.stderr.splitlines()[-1]


def trains(path: Path) -> bool:
    """Whether a module may import PyTorch when it is imported."""
    return name(path).startswith(TRAINERS) and name(path) not in WITHOUT_TORCH


def test_all_modules_are_looked_at() -> None:
    names = {name(path) for path in MODULES}
    assert names >= WITHOUT_TORCH - {"network/__init__"}
    assert names >= {"perception/detection", "pipeline", "cli/train", "data/ferplus"}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module_imports_nothing_of_ros(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert imported(ast.walk(tree)).isdisjoint(ROS)


@pytest.mark.parametrize("path", [path for path in MODULES if not trains(path)], ids=name)
def test_module_imports_pytorch_inside_functions_at_most(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert imported(iter(tree.body)).isdisjoint(TRAINING)


def test_paths_run_in_python_38() -> None:
    """``Path.parents`` has slices from Python 3.10 on, which vermin does not know."""
    modules = [*MODULES, *(PACKAGE.parent / "esr_ros").rglob("*.py")]
    slices = [
        (module, node.lineno)
        for module in modules
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice)
        if isinstance(node.value, ast.Attribute) and node.value.attr == "parents"
    ]
    assert slices == []
