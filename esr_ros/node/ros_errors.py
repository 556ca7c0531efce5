"""Exceptions of rclpy that a user can cause, and their messages."""

from __future__ import annotations

from typing import Callable, TypeVar

import rclpy
from rclpy.exceptions import NameValidationException, NotInitializedException, ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import InvalidQoSProfileException
from rclpy.qos_overriding_options import InvalidQosOverridesError

from esr_core.errors import EsrError, OptionError
from esr_ros.runtime.entry_point import without_source_lines

N = TypeVar("N")
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


def created(make: Callable[[], N]) -> N:
    """Return a node that ``make`` creates.

    Raises:
        OptionError: an argument or a parameter file is wrong; one line.
        ExternalShutdownException: ROS was shut down meanwhile.
    """
    try:
        return make()
    except EsrError:
        raise
    except ROS_ERRORS as error:
        if not rclpy.ok():
            raise ExternalShutdownException from error
        raise OptionError(reason(error)) from error
