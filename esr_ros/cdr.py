"""Messages as bytes, and back, the same on every run and whatever the bytes are.

Not by rclpy: it leaves what was in memory in the gaps between fields, and bytes that are no message
end the process.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from esr_core.errors import EsrError
from esr_ros import definition

#: What the library raises for bytes that are no message; its reading code is made for each type.
_NO_MESSAGE = (SerdeError, struct.error, ArithmeticError, LookupError, MemoryError, ValueError)


class MessageError(EsrError):
    """Bytes that are no message of that type."""


def read(data: bytes, kind: str) -> Any:
    """Return a message of an installed type, such as ``std_msgs/msg/Header``, by its fields.

    Raises:
        MessageError: the bytes are none.
    """
    try:
        return _store(kind).deserialize_cdr(data, kind)
    except _NO_MESSAGE as error:
        raise MessageError(f"{len(data)} bytes are no {kind} ({error})") from error


def write(message: Any, kind: str) -> bytes:
    """Return a message of ROS's as bytes."""
    if hasattr(message, "data"):  # the library wants NumPy's arrays
        fields = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
        message = SimpleNamespace(**{**fields, "data": np.frombuffer(message.data, np.uint8)})
    return bytes(_store(kind).serialize_cdr(message, kind))


@lru_cache(maxsize=None)
def _store(kind: str) -> Typestore:
    found = definition.installed(kind)
    if found is None:
        raise MessageError(f"the definition of {kind} is not installed")
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(found.data, kind))
    return store
