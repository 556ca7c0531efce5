"""Serialization of messages (CDR) with rosbags: the same bytes on every run.

rclpy leaves uninitialised memory in the padding between fields, and aborts on invalid bytes.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any, Optional

import numpy as np
from rosbags.interfaces import MessageDefinition
from rosbags.serde import SerdeError
from rosbags.typesys.store import Typestore

from esr_core.errors import EsrError
from esr_core.perception.stream_clock import stamp_seconds
from esr_ros.bags import message_definitions
from esr_ros.bags.message_definitions import DefinitionError

#: The types of image topics.
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
#: Errors of the library for invalid bytes; it generates its reading code for each type.
_INVALID = (SerdeError, struct.error, ArithmeticError, LookupError, MemoryError, ValueError)


class MessageError(EsrError):
    """Bytes that are not a message of the type."""


def read(data: bytes, kind: str, carried: Optional[MessageDefinition] = None) -> Any:
    """Return a message of a type, such as ``std_msgs/msg/Header``, with its fields.

    carried: the definition to use in place of the installed one.
    Raises MessageError for invalid bytes, and DefinitionError without a valid definition.
    """
    try:
        return _store(kind, carried).deserialize_cdr(data, kind)
    except _INVALID as error:
        raise MessageError(f"{len(data)} bytes are no {kind} ({error})") from error


def write(message: Any, kind: str) -> bytes:
    """Return the bytes of a ROS message."""
    if hasattr(message, "data"):  # the library takes NumPy arrays
        fields = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
        message = SimpleNamespace(**{**fields, "data": np.frombuffer(message.data, np.uint8)})
    return bytes(_store(kind).serialize_cdr(message, kind))


def stamp_s(sec: int, nanosec: int, recorded_ns: int) -> float:
    """Return a stamp in seconds; an image without one has the time of its recording."""
    return stamp_seconds(sec, nanosec) or recorded_ns * 1e-9


def _store(kind: str, carried: Optional[MessageDefinition] = None) -> Typestore:
    definition = carried or message_definitions.installed(kind)
    if definition is None:
        raise DefinitionError(f"the definition of {kind} is not installed")
    return message_definitions.store(kind, definition)
