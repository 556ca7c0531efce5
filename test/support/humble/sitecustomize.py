"""Takes from rclpy what Humble's does not have; Python imports this from a folder on its path.

The differences were read in the sources of rclpy 3.3.15 (branch humble).
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Callable, Optional

import rclpy.event_handler
import rclpy.executors
import rclpy.lifecycle
import rclpy.node
import rclpy.parameter
from rclpy.subscription import Subscription


def _take_subscription(self: Any, subscription: Any) -> Optional[Callable[[], Any]]:
    """As Humble does: pass the message only, whatever the callback takes."""
    with subscription.handle:
        taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
    if taken is None:
        return None

    async def execute() -> None:
        await rclpy.executors.await_or_execute(subscription.callback, taken[0])

    return execute


rclpy.executors.Executor._take_subscription = _take_subscription
del Subscription.CallbackType
del rclpy.parameter.parameter_dict_from_yaml_file
del Subscription.callback  # a property that inspects the callback; a plain attribute in Humble
# Its older name, and no other.
older = ModuleType("rclpy.qos_event")
older.PublisherEventCallbacks = rclpy.event_handler.PublisherEventCallbacks  # type: ignore[attr-defined]
sys.modules["rclpy.qos_event"] = older
for newer in ("rclpy.event_handler", "rclpy.experimental"):
    sys.modules[newer] = None  # type: ignore[assignment]  # importing it is an error
