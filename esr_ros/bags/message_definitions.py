"""Definitions of message types, as bags carry them, and their hashes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional, Tuple

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.base import TypesysError
from rosbags.typesys.msg import normalize_msgtype

if TYPE_CHECKING:
    from rosbags.interfaces.typing import Typesdict

#: What the library raises for definitions that are none.
UNREADABLE = (TypesysError, KeyError, ValueError)

_LINE = "=" * 80
_PRIMITIVE = (
    *("bool", "byte", "char", "string", "wstring", "float32", "float64"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


@lru_cache(maxsize=None)
def installed(name: str) -> Optional[MessageDefinition]:
    """Return the definition of a type such as ``std_msgs/msg/Header``, and of all in it.

    None if it, or one in it, is not installed.
    """
    text = _text(name)
    if text is None:
        return None
    parts, waiting, seen = [text], _used(name, text), {name}
    while waiting:
        each = waiting.pop(0)
        if each in seen:
            continue
        seen.add(each)
        text = _text(each)
        if text is None:
            return None
        package, _, kind = each.split("/")
        parts.append(f"{_LINE}\nMSG: {package}/{kind}\n{text}")
        waiting += _used(each, text)
    return MessageDefinition(MessageDefinitionFormat.MSG, "\n".join(parts))


def _text(name: str) -> Optional[str]:
    if name.count("/") != 2:  # such as those of Foxglove, which ROS does not know
        return None
    package, _, kind = name.split("/")
    try:
        share = get_package_share_directory(package)
        return (Path(share) / "msg" / f"{kind}.msg").read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError, ValueError):
        return None


def _used(name: str, text: str) -> List[str]:
    """Return the full names of the types of a definition's fields."""
    package = name.split("/")[0]
    used = []
    for line in text.splitlines():
        kind = line.split("#")[0].split(" ")[0].strip().split("[")[0].split("<")[0]
        if kind and kind not in _PRIMITIVE:
            full = kind if "/" in kind else f"{package}/{kind}"
            used.append("/msg/".join(full.replace("/msg/", "/").split("/")))
    return used


@lru_cache(maxsize=None)
def type_hash(name: str, definition: MessageDefinition) -> Optional[str]:
    """Return a type's hash as ROS has it (REP 2016: ``RIHS01_…``); None if it cannot be read."""
    store = get_typestore(Stores.EMPTY)
    try:
        store.register(parsed(name, definition))
        return store.hash_rihs01(normalize_msgtype(name))
    except UNREADABLE:
        return None


def parsed(name: str, definition: MessageDefinition) -> Typesdict:
    """Return the types in a definition, in the library's form.

    Raises:
        TypesysError, KeyError, ValueError: it is none; these are UNREADABLE.
    """
    if definition.format == MessageDefinitionFormat.IDL:
        return get_types_from_idl(definition.data)
    return get_types_from_msg(definition.data, name)


def of(connection: Connection) -> Optional[Tuple[MessageDefinition, str]]:
    """Return definition and hash of a topic's type: the bag's own, else those installed here."""
    carried = connection.msgdef
    known = carried.format != MessageDefinitionFormat.NONE and carried.data
    for definition in (carried if known else None, installed(connection.msgtype)):
        if definition is not None:
            digest = connection.digest or type_hash(connection.msgtype, definition)
            if digest:
                return definition, digest
    return None
