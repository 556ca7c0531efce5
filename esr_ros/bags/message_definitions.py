"""Definitions of message types, as bags carry them, and their hashes."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.base import TypesysError
from rosbags.typesys.msg import normalize_msgtype
from rosbags.typesys.store import Typestore

from esr_core.errors import EsrError

#: The text of ROS for an unknown hash.
UNKNOWN_HASH = "INVALID"
#: The line before the heading of a used type.
_LINE = "=" * 80
_IDL_HEADING = re.compile(rf"^{_LINE}\r?\nIDL: .*$", re.MULTILINE)
_PREPROCESSOR = re.compile(r"^\s*#.*$", re.MULTILINE)
#: Errors of the library for invalid definitions.
_UNREADABLE = (TypesysError, KeyError, ValueError)


class DefinitionError(EsrError):
    """A message type without a valid definition."""


@lru_cache(maxsize=None)
def installed(name: str) -> Optional[MessageDefinition]:
    """Return the definition of ``std_msgs/msg/Header`` and all in it; None if one is missing."""
    texts: Dict[str, str] = {}
    waiting = [name]
    try:
        while waiting:
            kind = waiting.pop(0)
            if kind not in texts:
                package, _, base = kind.split("/")  # types of Foxglove have one slash
                file = Path(get_package_share_directory(package)) / "msg" / f"{base}.msg"
                texts[kind] = file.read_text(encoding="utf-8")
                waiting += _used(kind, texts[kind])
    except (PackageNotFoundError, OSError, *_UNREADABLE):
        return None
    parts = [texts.pop(name)]
    for kind, text in texts.items():
        parts.append(f"{_LINE}\nMSG: {kind.replace('/msg/', '/')}\n{text}")
    return MessageDefinition(MessageDefinitionFormat.MSG, "\n".join(parts))


def _used(name: str, text: str) -> Iterator[str]:
    """Yield the full names of the message types of a definition's fields."""
    fields: Any = get_types_from_msg(text, name)[name][1]
    for _, (form, value) in fields:
        if form in (Nodetype.ARRAY, Nodetype.SEQUENCE):
            form, value = value[0]
        if form == Nodetype.NAME:
            yield str(value)


@lru_cache(maxsize=None)
def store(name: str, definition: MessageDefinition) -> Typestore:
    """Return the types in a definition, for the library; DefinitionError if it is invalid."""
    made = get_typestore(Stores.EMPTY)
    try:
        if definition.format == MessageDefinitionFormat.IDL:
            # The library takes one file, without preprocessor lines; used types come first in it.
            files = _IDL_HEADING.split(_PREPROCESSOR.sub("", definition.data))
            made.register(get_types_from_idl("\n".join(reversed(files))))
        else:
            made.register(get_types_from_msg(definition.data, name))
    except _UNREADABLE as error:
        raise DefinitionError(f"the definition of {name} cannot be read ({error})") from error
    return made


def with_heading(name: str, definition: MessageDefinition) -> str:
    """Return the text of a definition, as rosbag2 writes it: IDL has headings."""
    if definition.format == MessageDefinitionFormat.IDL and not _IDL_HEADING.match(definition.data):
        return f"{_LINE}\nIDL: {name}\n{definition.data}"
    return definition.data


@lru_cache(maxsize=None)
def type_hash(name: str, definition: MessageDefinition) -> Optional[str]:
    """Return the hash of a type (REP 2016: ``RIHS01_…``); None if it cannot be read."""
    try:
        return store(name, definition).hash_rihs01(normalize_msgtype(name))
    except (DefinitionError, *_UNREADABLE):
        return None


def of(connection: Connection) -> Tuple[MessageDefinition, Optional[str]]:
    """Return definition and hash of a topic's type: the bag's own, else the installed ones.

    If neither can be read: the unchanged one of the bag, and no hash.
    """
    carried = connection.msgdef
    is_carried = carried.format != MessageDefinitionFormat.NONE and carried.data
    noted = connection.digest if connection.digest != UNKNOWN_HASH else ""
    for definition in (carried if is_carried else None, installed(connection.msgtype)):
        if definition is not None:
            digest = noted or type_hash(connection.msgtype, definition)
            if digest:
                return definition, digest
    return carried, None
