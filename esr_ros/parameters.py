"""The node's ROS parameters, all from one dataclass."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Callable, Iterable, List, Sequence

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from esr_core.errors import OptionError
from esr_core.options import Option, option, options
from esr_core.pipeline import PipelineOptions

#: Names that ROS itself declares on a node.
_ROS_NAMES = ("use_sim_time", "start_type_description_service")
#: Topics of every node, whose QoS is none of ours.
_ROS_TOPICS = ("/clock", "/parameter_events", "/rosout")
#: What can be overridden of a topic's QoS, and of which type that is.
_POLICIES = {"depth": int, "history": str, "reliability": str}


@dataclass(frozen=True)
class NodeOptions(PipelineOptions):
    """What the node can be told; its field list is the parameter list."""

    autostart: bool = option(
        True, "Configure and activate at start; false waits for a lifecycle manager."
    )
    image_topics: Sequence[str] = option(
        ("image_raw",),
        "Where images come from; a topic that ends in /compressed is CompressedImage. Of one topic "
        "the answers are on emotion, of several beside each: left/emotion for left/image_raw.",
    )
    detections_topic: str = option(
        "",
        "Where another detector says which faces are in each image, under the image's own stamp: "
        "vision_msgs/Detection2DArray, or, if the name ends in /tracked, ROS4HRI's faces, such as "
        "/humans/faces/tracked. Empty: faces are found here. For one image topic.",
    )
    annotated_image: str = option(
        "raw",
        "What emotion/image is while somebody listens; compressed: JPEG, on "
        "emotion/image/compressed.",
        choices=("raw", "compressed"),
    )
    humans: bool = option(
        False, "Faces are also told as ROS4HRI has it, on /humans/faces; needs hri_msgs."
    )
    reliability: str = option(
        "best_effort",
        "QoS of the image subscription; best_effort hears every camera, reliable resends.",
        choices=("best_effort", "reliable"),
    )
    latency_warn_s: float = option(
        0.2,
        "Slower answers, in the median, are a warning on /diagnostics.",
        (0.001, 3600.0),
        live=True,
    )
    latency_error_s: float = option(1.0, "The same for an error.", (0.001, 3600.0), live=True)
    dropped_warn: float = option(
        0.5,
        "A larger share of images that are not answered is a warning on /diagnostics.",
        (0.0, 1.0),
        live=True,
    )
    dropped_error: float = option(1.0, "The same for an error; 1: never.", (0.0, 1.0), live=True)
    warning_period_s: float = option(
        5.0, "The same warning is given at most once in so many seconds.", (0.1, 3600.0), live=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for what in ("latency_{}_s", "dropped_{}"):
            warn, error = what.format("warn"), what.format("error")
            if getattr(self, warn) > getattr(self, error):
                raise OptionError(
                    f"{warn} must be at most {error}, but got {getattr(self, warn):g} and "
                    f"{getattr(self, error):g}"
                )


def declare(node: Node) -> NodeOptions:
    """Declare all parameters on a node and return their values.

    The node must have been made with ``automatically_declare_parameters_from_overrides``, or a
    name that is misspelt in a file could not be seen.

    Raises:
        OptionError: a name that does not exist, a type or a value that is not allowed.
    """
    known = list(options(NodeOptions))
    names = [o.name for o in known]
    given = {
        name: parameter.value
        for name, parameter in node.get_parameters_by_prefix("").items()
        if not _is_ros(name)
    }
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise OptionError(
            f"unknown parameter {', '.join(unknown)} for {node.get_fully_qualified_name()}; "
            f"known are {', '.join(sorted(names))}"
        )
    for o in known:
        value = given.get(o.name)
        if isinstance(o.default, float) and type(value) is int:
            raise OptionError(f"{o.name} must be a float: write {value}.0")
    NodeOptions(**given)  # what is wrong is said better here than by ROS
    for name, parameter in node.get_parameters_by_prefix("qos_overrides").items():
        wanted = _POLICIES.get(name.rpartition(".")[2])
        if wanted and type(parameter.value) is not wanted:
            raise OptionError(
                f"qos_overrides.{name} must be of type {wanted.__name__}, but got "
                f"{parameter.value!r}"
            )
        if wanted is int and not 0 <= parameter.value < 2**31:
            raise OptionError(f"qos_overrides.{name} is out of bounds: {parameter.value}")
    for name in given:
        # What ROS declared from the file has no bounds; it is declared again with them.
        node.undeclare_parameter(name)
    for declared in known:
        node.declare_parameter(declared.name, _ros_value(declared), descriptor(declared))
    return read(node)


def guard_services(node: Node) -> None:
    """Let requests with values of a type that does not exist be refused, as all others are.

    rclpy raises then, in the executor, which would end the node.
    """
    for service in node.services:
        if service.srv_name.endswith(("/set_parameters", "/set_parameters_atomically")):
            service.callback = _guarded(service.callback)


def _guarded(callback: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    known = [kind.value for kind in Parameter.Type]

    def guarded(request: Any, response: Any) -> Any:
        wrong = {p.value.type for p in request.parameters} - set(known)
        if not wrong:
            return callback(request, response)
        result = SetParametersResult(successful=False, reason=f"no type of parameter: {wrong}")
        if hasattr(response, "results"):
            response.results = [result] * len(request.parameters)
        else:
            response.result = result
        return response

    return guarded


def check_overrides(node: Node) -> None:
    """Check the QoS overrides, once all topics are offered and listened to.

    Raises:
        OptionError: one is for a topic or a policy that this node does not have.
    """
    topics = {("publisher", p.topic_name) for p in node.publishers}
    topics |= {("subscription", s.topic_name) for s in node.subscriptions}
    for name in sorted(node.get_parameters_by_prefix("qos_overrides")):
        topic, _, rest = name.partition(".")
        kind, _, policy = rest.partition(".")
        if topic in _ROS_TOPICS:
            continue
        if (kind, topic) not in topics:
            has = ", ".join(f"{topic}.{own}" for own, topic in sorted(topics))
            raise OptionError(f"qos_overrides.{name} is for none of this node's topics: {has}")
        if policy not in _POLICIES:
            raise OptionError(
                f"qos_overrides.{name}: {policy} cannot be overridden, only {', '.join(_POLICIES)}"
            )


def read(node: Node) -> NodeOptions:
    """Return the current values of all parameters."""
    return NodeOptions(**{o.name: node.get_parameter(o.name).value for o in options(NodeOptions)})


def changed(current: NodeOptions, parameters: Iterable[Parameter]) -> NodeOptions:
    """Return the options after a change while the node runs.

    Raises:
        OptionError: an unknown name, a value that is not allowed, or one that is not ``live``.
    """
    known = {o.name: o for o in options(NodeOptions)}
    values = {p.name: p.value for p in parameters if not _is_ros(p.name)}
    for name in values:
        if name not in known:
            raise OptionError(f"unknown parameter {name}; known are {', '.join(sorted(known))}")
        if not known[name].live:
            raise OptionError(f"{name} cannot change while the node runs; start it again")
    return replace(current, **values)


def descriptor(declared: Option) -> ParameterDescriptor:
    """Describe an option to ROS, for ``ros2 param describe``."""
    described = ParameterDescriptor(
        name=declared.name,
        description=declared.description,
        additional_constraints=_constraints(declared),
        # Not read_only: the node refuses with a reason, which says more than ROS does.
        dynamic_typing=declared.word_or_number,
    )
    if declared.word_or_number:
        return described  # a range would bind it to numbers
    if declared.low is not None and declared.high is not None:
        if isinstance(declared.default, float):
            described.floating_point_range = [
                FloatingPointRange(from_value=declared.low, to_value=declared.high)
            ]
        else:
            described.integer_range = [
                IntegerRange(from_value=int(declared.low), to_value=int(declared.high), step=1)
            ]
    return described


def _constraints(declared: Option) -> str:
    said: List[str] = []
    if declared.choices:
        said.append(f"one of {', '.join(declared.choices)}")
    if declared.word_or_number:
        said.append(f"or a number from {declared.low:g} to {declared.high:g}")
    if not declared.live:
        said.append("read at start")
    return "; ".join(said)


def _is_ros(name: str) -> bool:
    return name in _ROS_NAMES or name.startswith("qos_overrides.")


def _ros_value(declared: Option) -> Any:
    """The default as ROS takes it: it knows lists, no tuples."""
    is_list = isinstance(declared.default, tuple)
    return list(declared.default) if is_list else declared.default


def as_yaml(node_name: str, values: Any = NodeOptions) -> str:
    """Return a parameter file with every parameter, its description and its default."""
    lines = [f"/**/{node_name}:", "  ros__parameters:"]
    for o in options(values):
        bounds = f" {o.low:g} to {o.high:g}" if o.low is not None else ""
        choices = f" One of {', '.join(o.choices)}" if o.choices else ""
        allowed = f"{choices}, or{bounds}." if choices and bounds else f"{choices}{bounds}."
        allowed = "" if allowed == "." else allowed
        live = " Can change live." if o.live else ""
        lines += [f"    # {o.description}{allowed}{live}", f"    {o.name}: {yaml_value(o)}", ""]
    return "\n".join(lines).rstrip() + "\n"


def yaml_value(declared: Option) -> str:
    """Return the default as a parameter file has it."""
    value = declared.default
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(value)
    return f'"{value}"' if isinstance(value, str) else str(value)
