"""Exceptions of rclpy that a user can cause, and their messages."""

from __future__ import annotations

from rclpy.exceptions import NameValidationException, NotInitializedException, ParameterException
from rclpy.node import Node
from rclpy.qos import InvalidQoSProfileException
from rclpy.qos_overriding_options import InvalidQosOverridesError

from esr_core.errors import OptionError
from esr_ros.runtime.entry_point import without_source_lines

#: Exceptions for invalid names, types and QoS.
ROS_ERRORS = (
    AssertionError,  # of the types of QoS policies
    RuntimeError,
    ValueError,
    NameValidationException,
    NotInitializedException,  # shut down while the node is created
    ParameterException,
    InvalidQoSProfileException,
    InvalidQosOverridesError,
)


def reason(error: Exception) -> str:
    """Return the message of an error in one line, with an explanation where it is unclear."""
    message = " ".join(without_source_lines(str(error)).split())
    if isinstance(error, AssertionError):
        return f"a QoS override has a value of the wrong type {message}".rstrip()
    if "PARAMETER_NOT_SET" in message:
        return f"a parameter is an empty list, such as image_topics: [] ({message})"
    return message


def resolved_topic(node: Node, parameter: str, name: str) -> str:
    """Return the full name of a topic; OptionError if it is invalid."""
    try:
        return node.resolve_topic_name(name)  # type: ignore[no-any-return]
    except (RuntimeError, NameValidationException) as error:
        raise OptionError(
            f"{parameter}: {name!r} is no name of a topic: {reason(error)}"
        ) from error
