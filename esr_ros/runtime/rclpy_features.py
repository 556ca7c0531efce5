"""Differences between the supported releases of rclpy.

Humble has 3.3, Jazzy 7.1, Kilted 9.1 and Lyrical 10. All that this package calls exists in each of
them, except for what this module provides.
"""

from __future__ import annotations

from typing import Any, Callable, Dict

from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import PublisherEventCallbacks as PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks as PublisherEventCallbacks

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
