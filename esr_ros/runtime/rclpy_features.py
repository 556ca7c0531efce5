"""Differences between the supported releases of rclpy, and its errors.

Humble has 3.3, Jazzy 7.1, Kilted 9.1 and Lyrical 10. All that this package calls exists in each of
them, except for what this module provides; and requests that end a node are refused here.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, TypeVar

import rclpy
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.exceptions import NameValidationException, NotInitializedException, ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription

from esr_core.errors import EsrError, OptionError
from esr_ros.runtime.entry_point import without_source_lines

try:
    from rclpy.event_handler import PublisherEventCallbacks as PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks as PublisherEventCallbacks

N = TypeVar("N")
#: Exceptions for invalid names, types and QoS.
ROS_ERRORS = (
    RuntimeError,
    ValueError,
    NameValidationException,
    NotInitializedException,  # shut down while the node is created
    ParameterException,
)
#: Whether a subscription passes the information about a message, such as the time of its arrival.
HAS_MESSAGE_INFO = hasattr(Subscription, "CallbackType")  # since 3.4


def with_message_info(
    callback: Callable[[Any, Dict[str, Any]], None],
) -> Callable[..., None]:
    """Return the callback for ``create_subscription``; in Humble the information is empty.

    A default value of the second parameter would not do: rclpy then passes the message only.
    """
    if HAS_MESSAGE_INFO:
        return callback
    return lambda message: callback(message, {})


def guard_services(node: Node) -> None:
    """Refuse requests for which rclpy raises in the executor, which would end the node.

    They are: a parameter of an unknown type; before Kilted, a transition that the state of a
    lifecycle node does not allow.
    """
    for service in node.services:
        if service.srv_type in (SetParameters, SetParametersAtomically):
            service.callback = partial(_set_parameters, service.callback)
        elif service.srv_type is ChangeState:
            service.callback = partial(_change_state, service.callback)


def _set_parameters(callback: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    unknown = {p.value.type for p in request.parameters} - {kind.value for kind in Parameter.Type}
    if not unknown:
        return callback(request, response)
    result = SetParametersResult(reason=f"unknown parameter type: {unknown}")
    if hasattr(response, "results"):
        response.results = [result] * len(request.parameters)
    else:
        response.result = result
    return response


def _change_state(callback: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
    try:
        return callback(request, response)
    except RuntimeError:  # RCLError, which has no public name; rcl_lifecycle has logged the reason
        if not rclpy.ok():
            raise
        response.success = False
        return response


def reason(error: Exception) -> str:
    """Return the message of an error in one line, with an explanation where it is unclear."""
    message = " ".join(without_source_lines(str(error)).split())
    if "PARAMETER_NOT_SET" in message:
        return f"a parameter is an empty list, such as image_topics: [] ({message})"
    return message


def publish(publisher: Any, message: Any) -> bool:
    """Publish a message; return False, after a warning every 5 s at most, if ROS does not take it.

    Fast DDS takes none for a moment while a reliable subscriber is too slow.
    """
    try:
        publisher.publish(message)
    except RuntimeError as error:  # RCLError has no public name in every release
        if not rclpy.ok():
            raise
        text = f"a message of type {type(message).__name__} was not published: {reason(error)}"
        get_logger("esr_ros").warning(text, throttle_duration_sec=5.0)
        return False
    return True


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
