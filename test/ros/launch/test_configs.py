"""The installed executable with every parameter file that ships, as the launch files start it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from numpy.typing import NDArray

CONFIG = Path(get_package_share_directory("esr_ros")) / "config"


@pytest.mark.parametrize("platform", ["jetson_tx2", "jetson_xavier"])
def test_platform_answers(
    start: Any, robot: Any, photograph: NDArray[np.uint8], to_image: Any, platform: str
) -> None:
    # The detector of the Jetsons needs a model file that does not ship; all else is as there.
    own_detector = ("-p", "detector:=yuface", "-p", "reliability:=reliable")
    start("--params-file", str(CONFIG / f"{platform}.yaml"), *own_detector)
    me = robot()
    me.meet(to_image(photograph))
    assert len(me.ask(to_image(photograph)).emotions) == 1


@pytest.mark.parametrize("platform", ["jetson_tx2", "jetson_xavier"])
def test_platform_without_its_detector_says_what_to_do(start: Any, platform: str) -> None:
    node = start("--params-file", str(CONFIG / f"{platform}.yaml"))
    assert node.exit_code() == 2
    assert "face_detection_yunet_2023mar.onnx: no such file" in node.said
