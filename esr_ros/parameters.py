"""ROS parameters of the node, declared as one dataclass."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterable, Sequence, Set, Type, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from esr_core.errors import OptionError
from esr_core.options import Option, option, options, unknown_names
from esr_core.pipeline import PipelineOptions

Declared = TypeVar("Declared")

#: Parameters that ROS itself declares on a node.
_ROS_NAMES = ("use_sim_time", "start_type_description_service")
#: Topics of every ROS node; their QoS is not checked.
_ROS_TOPICS = ("/clock", "/parameter_events", "/rosout")
#: What precedes the names of parameters in a file, below the node's name.
_PARAMETERS = "ros__parameters."
#: Last parts of the names for all nodes in parameter files: /**, /robot/*.
FOR_ALL = ("*", "**")
#: QoS policies that can be overridden, and their types.
POLICIES = {"depth": int, "history": str, "reliability": str}


@dataclass(frozen=True)
class NodeOptions(PipelineOptions):
    """Options of the node; each field is a ROS parameter."""

    autostart: bool = option(
        True, "Configure and activate at start. false: wait for a lifecycle manager."
    )
    image_topics: Sequence[str] = option(
        ("image_raw",),
        "Image topics, of type Image or CompressedImage, whichever is published there. For one "
        "topic, the results are published on emotion; for several, on emotion in the namespace of "
        "each: left/emotion for left/image_raw.",
    )
    detections_topic: str = option(
        "",
        "Topic of an external detector, which publishes the faces of each image with the stamp of "
        "the image: vision_msgs/Detection2DArray or, if the name ends in /tracked, the faces of "
        "ROS4HRI, such as /humans/faces/tracked. Empty: this node detects faces. For a single "
        "image topic only.",
    )
    annotated_image: str = option(
        "raw",
        "Type of the annotated image, which is published while there are subscribers: `raw` on "
        "emotion/image, or `compressed` (JPEG) on emotion/image/compressed.",
        choices=("raw", "compressed"),
    )
    humans: bool = option(
        False, "Publish the faces on /humans/faces, too, as ROS4HRI defines it. Needs hri_msgs."
    )
    poses: bool = option(
        False,
        "Publish the position and orientation of each face, in metres from the camera, on "
        "emotion/poses and as TF frames. Needs tf2_msgs, and the camera's calibration on the topic "
        "camera_info beside the image topic.",
    )
    reliability: str = option(
        "best_effort",
        "QoS reliability of the image subscription. `best_effort` is compatible with every camera; "
        "with `reliable`, lost images are sent again.",
        choices=("best_effort", "reliable"),
    )
    notice_text: str = option(
        "A camera here is analyzed by software that estimates emotions from facial expressions.",
        "Text on emotion/notice, for the people in front of the camera.",
        live=True,
    )
    latency_warn_s: float = option(
        0.2,
        "Median latency above which the diagnostics are WARN, in seconds.",
        (0.001, 3600.0),
        live=True,
    )
    latency_error_s: float = option(
        1.0,
        "Median latency above which the diagnostics are ERROR, in seconds.",
        (0.001, 3600.0),
        live=True,
    )
    dropped_warn: float = option(
        0.5, "Share of dropped images above which the diagnostics are WARN.", (0.0, 1.0), live=True
    )
    dropped_error: float = option(
        1.0,
        "Share of dropped images above which the diagnostics are ERROR. 1: never.",
        (0.0, 1.0),
        live=True,
    )
    warning_period_s: float = option(
        5.0, "Shortest period of a repeated log warning, in seconds.", (0.1, 3600.0), live=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detections_topic and len(self.image_topics) > 1:
            raise OptionError("detections_topic is for one image topic, but image_topics has more")
        for pattern in ("latency_{}_s", "dropped_{}"):
            names = [pattern.format(level) for level in ("warn", "error")]
            warn, error = (getattr(self, name) for name in names)
            if warn > error:
                raise OptionError(
                    f"{names[0]} must be at most {names[1]}, but got {warn:g} and {error:g}"
                )


def declare(node: Node, kind: Type[Declared]) -> Declared:
    """Declare all parameters on a node and return their values; OptionError for invalid ones.

    kind: a dataclass of options, such as NodeOptions.
    The node must have been created with ``automatically_declare_parameters_from_overrides``;
    otherwise a misspelt name in a file is not detected.
    """
    known = {o.name: o for o in options(kind)}
    there = node.get_parameters_by_prefix("")
    given = {name: each.value for name, each in there.items() if not _is_ros(name)}
    foreign = given.keys() - known.keys()
    ignored = foreign & _shared(node.get_namespace()) if foreign else set()
    if ignored:
        names = ", ".join(sorted(ignored))
        node.get_logger().warning(
            f"ignored, as they are for all nodes and unknown to this one: {names}"
        )
    unknown = unknown_names(foreign - ignored, known)
    if unknown:
        raise OptionError(f"{node.get_fully_qualified_name()}: unknown parameter {unknown}")
    for name in given:  # ROS declared it without bounds; they are declared again below
        node.undeclare_parameter(name)
    given = {name: value for name, value in given.items() if name in known}
    for name, value in given.items():
        if isinstance(known[name].default, float) and type(value) is int:
            raise OptionError(f"{name} must be a float: write {value}.0")
    kind(**given)  # its errors are clearer than those of ROS
    _check_override_values(node)
    for name, o in known.items():
        default = list(o.default) if isinstance(o.default, tuple) else o.default  # as ROS has it
        node.declare_parameter(name, default, descriptor(o))
    return kind(**{name: node.get_parameter(name).value for name in known})


def _shared(namespace: str) -> Set[str]:
    """Return the parameters that the files of the command line have for nodes of all names."""
    from ruamel.yaml import YAML  # only files with parameters of other nodes need it

    path = PurePosixPath(namespace)
    spaces = [str(each).rstrip("/") for each in (path, *path.parents)]
    begins = tuple(f"{space}/{every}.{_PARAMETERS}" for space in spaces for every in FOR_ALL)
    names: Set[str] = set()
    files = [file for flag, file in zip(sys.argv, sys.argv[1:]) if flag == "--params-file"]
    for file in files:  # Humble has no parameter_dict_from_yaml_file()
        names |= _names(YAML(typ="safe").compose(Path(file).read_text(encoding="utf-8")))
    return {name.partition(_PARAMETERS)[2] for name in names if name.startswith(begins)}


def _names(values: Any, prefix: str = "") -> Set[str]:
    """Return the names of nested values, with dots between their parts.

    values: a node of YAML, since ROS allows for a key that occurs twice; None: of an empty file.
    """
    if values is None or values.id != "mapping":
        return {prefix[:-1]}
    pairs = values.value
    return {name for key, value in pairs for name in _names(value, f"{prefix}{key.value}.")}


def _check_override_values(node: Node) -> None:
    for name, parameter in node.get_parameters_by_prefix("qos_overrides").items():
        expected = POLICIES.get(name.rpartition(".")[2])
        if expected and type(parameter.value) is not expected:
            raise OptionError(
                f"qos_overrides.{name} must be of type {expected.__name__}, but got "
                f"{parameter.value!r}"
            )
        if expected is int and not 0 <= parameter.value < 2**31:
            raise OptionError(f"qos_overrides.{name} is out of bounds: {parameter.value}")


def overrides(node: Node) -> Dict[str, bool]:
    """Return the names of the given QoS overrides, and if a file for all nodes has them."""
    given = node.get_parameters_by_prefix("qos_overrides")
    shared = _shared(node.get_namespace()) if given else set()
    return {name: f"qos_overrides.{name}" in shared for name in given}


def check_overrides(node: Node, given: Dict[str, bool]) -> None:
    """Refuse QoS overrides of unknown topics or policies, after all of the node's were created.

    given: those of :func:`overrides`, at the start. In a file for all nodes they may be of topics
    of other nodes.
    """
    topics = {f"{each.topic_name}.publisher" for each in node.publishers}
    topics |= {f"{each.topic_name}.subscription" for each in node.subscriptions}
    for name, is_shared in sorted(given.items()):
        topic, _, policy = name.rpartition(".")
        if topic.partition(".")[0] in _ROS_TOPICS or (is_shared and topic not in topics):
            continue
        if topic not in topics:
            has = ", ".join(sorted(topics))
            raise OptionError(f"qos_overrides.{name} is for none of this node's topics: {has}")
        if policy not in POLICIES:
            raise OptionError(
                f"qos_overrides.{name}: {policy} cannot be overridden, only {', '.join(POLICIES)}"
            )


def changed(
    current: Declared, parameters: Iterable[Parameter], is_configured: bool = True
) -> Declared:
    """Return the options after a change; OptionError if it is not allowed.

    is_configured: only live parameters may change; otherwise all.
    """
    known = {o.name: o for o in options(type(current))}
    values = {p.name: p.value for p in parameters if not _is_ros(p.name)}
    unknown = unknown_names(values, known)
    if unknown:
        raise OptionError(f"unknown parameter {unknown}")
    for name in values:
        if is_configured and not known[name].live:
            raise OptionError(
                f"{name} cannot be changed at run time; restart the node, or clean it up first"
            )
    return replace(current, **values)  # type: ignore[type-var]


def descriptor(declared: Option) -> ParameterDescriptor:
    """Return the descriptor of an option, for ``ros2 param describe``."""
    described = ParameterDescriptor(
        name=declared.name,
        description=declared.description,
        additional_constraints=_constraints(declared),
        # Not read_only: the node refuses a change with a reason, ROS without.
        dynamic_typing=declared.word_or_number,
    )
    low, high = declared.low, declared.high
    if low is None or high is None or declared.word_or_number:
        return described  # a range would restrict the latter to numbers
    if isinstance(declared.default, float):
        described.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    else:
        steps = IntegerRange(from_value=int(low), to_value=int(high), step=1)
        described.integer_range = [steps]
    return described


def _constraints(declared: Option) -> str:
    constraints = []
    if declared.choices:
        constraints.append(f"one of {', '.join(map(str, declared.choices))}")
    if declared.low is not None:
        either = "or a number " if declared.choices else ""
        constraints.append(f"{either}from {declared.low:g} to {declared.high:g}")
    if declared.live:
        constraints.append("can be changed at run time")
    return "; ".join(constraints)


def _is_ros(name: str) -> bool:
    return name in _ROS_NAMES or name.startswith("qos_overrides.")


def as_yaml(node_name: str, values: Any = NodeOptions) -> str:
    """Return a parameter file with the description and the default of every parameter."""
    lines = [f"/**/{node_name}:", "  ros__parameters:"]
    for o in options(values):
        constraints = f" [{_constraints(o)}]" if _constraints(o) else ""
        lines += [f"    # {o.description}{constraints}", f"    {o.name}: {yaml_value(o)}", ""]
    return "\n".join(lines).rstrip() + "\n"


def yaml_value(declared: Option) -> str:
    """Return the default of an option in YAML."""
    return json.dumps(declared.default)
