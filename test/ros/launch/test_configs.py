"""The installed executable with every parameter file that ships, as the launch files start it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ament_index_python.packages import get_package_share_directory
from numpy.typing import NDArray

CONFIG = Path(get_package_share_directory("esr_ros")) / "config"


@pytest.mark.parametrize("platform", ["jetson_tx2", "jetson_xavier", "jetson_orin", "jetson_thor"])
def test_platform_answers(
    start: Any, robot: Any, photograph: NDArray[np.uint8], to_image: Any, platform: str
) -> None:
    start("--params-file", str(CONFIG / f"{platform}.yaml"), "-p", "reliability:=reliable")
    me = robot()
    me.meet(to_image(photograph))
    assert len(me.ask(to_image(photograph)).emotions) == 1
