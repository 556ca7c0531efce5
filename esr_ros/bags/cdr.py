"""Messages as bytes, and back, the same on every run and whatever the bytes are.

Not by rclpy: it leaves what was in memory in the gaps between fields, and bytes that are no message
end the process.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Optional

import numpy as np
from rosbags.interfaces import MessageDefinition
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from esr_core.errors import EsrError
from esr_ros.bags import message_definitions

#: What the library raises for bytes that are no message; its reading code is made for each type.
_NO_MESSAGE = (SerdeError, struct.error, ArithmeticError, LookupError, MemoryError, ValueError)


class MessageError(EsrError):
    """Bytes that are no message of that type."""


class DefinitionError(EsrError):
    """A type of message that is not known."""


def read(data: bytes, kind: str, carried: Optional[MessageDefinition] = None) -> Any:
    """Return a message of a type, such as ``std_msgs/msg/Header``, by its fields.

    carried: the definition to go by, where it is not the one that is installed.

    Raises:
        MessageError: the bytes are none.
        DefinitionError: the type's definition is not installed, or cannot be read.
    """
    try:
        return _store(kind, carried).deserialize_cdr(data, kind)
    except _NO_MESSAGE as error:
        raise MessageError(f"{len(data)} bytes are no {kind} ({error})") from error


def write(message: Any, kind: str) -> bytes:
    """Return a message of ROS's as bytes."""
    if hasattr(message, "data"):  # the library wants NumPy's arrays
        fields = {name: getattr(message, name) for name in message.get_fields_and_field_types()}
        message = SimpleNamespace(**{**fields, "data": np.frombuffer(message.data, np.uint8)})
    return bytes(_store(kind).serialize_cdr(message, kind))


@lru_cache(maxsize=None)
def _store(kind: str, carried: Optional[MessageDefinition] = None) -> Typestore:
    found = carried or message_definitions.installed(kind)
    if found is None:
        raise DefinitionError(f"the definition of {kind} is not installed")
    store = get_typestore(Stores.EMPTY)
    try:
        store.register(message_definitions.parsed(kind, found))
    except message_definitions.UNREADABLE as error:
        raise DefinitionError(f"the definition of {kind} cannot be read ({error})") from error
    return store
