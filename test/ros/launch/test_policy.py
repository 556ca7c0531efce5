"""The SROS 2 policy allows what the node does, and nothing else."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import numpy as np
from ament_index_python.packages import get_package_share_directory
from numpy.typing import NDArray

Photo = NDArray[np.uint8]
POLICY = Path(get_package_share_directory("esr_ros")) / "config/policy.xml"


def allowed(kind: str, what: str) -> set[str]:
    profile = xml.parse(POLICY).getroot().find("enclaves/enclave/profiles/profile")
    assert profile is not None
    assert (profile.get("node"), profile.get("ns")) == ("emotion_node", "/")
    (group,) = (each for each in profile if each.get(what) == "ALLOW" and each.tag == kind)
    return {f"/{each.text}" for each in group}


def test_policy_is_what_the_node_does(
    start: Any, robot: Any, photograph: Photo, to_image: Any
) -> None:
    start("-p", "reliability:=reliable")
    me = robot()
    me.meet(to_image(photograph))
    queries = {
        ("topics", "subscribe"): me.node.get_subscriber_names_and_types_by_node,
        ("topics", "publish"): me.node.get_publisher_names_and_types_by_node,
        ("services", "reply"): me.node.get_service_names_and_types_by_node,
    }
    for (kind, what), names_and_types in queries.items():
        expected = allowed(kind, what)

        def fits(ask: Any = names_and_types, expected: set[str] = expected) -> bool:
            return {name for name, _ in ask("emotion_node", "/")} == expected

        assert me.spin_until(fits, 10), (
            what,
            expected ^ {name for name, _ in names_and_types("emotion_node", "/")},
        )
