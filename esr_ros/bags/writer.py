"""Writing a bag that ``ros2 bag`` and Foxglove open: definitions, hashes and QoS inside."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from types import TracebackType
from typing import Dict, List, Literal, Optional, Type

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from esr_core.errors import EsrError
from esr_ros.bags import message_definitions
from esr_ros.bags.storage_file import ODD_IN_PATHS, is_odd

#: Where a bag notes what it was made from.
NOTE = "esr_ros"
#: The version of metadata.yaml that Humble to Kilted read.
VERSION: Literal[8] = 8
_FOREVER = QosTime(9223372036, 854775807)  # of rmw/time.h

#: What the library raises: its own, SQLite's, and Python's for times that no field holds.
_UNWRITABLE = (WriterError, sqlite3.Error, OverflowError, struct.error)


class BagWriteError(EsrError):
    """A bag that cannot be written."""


class BagWriter:
    """A new bag, a folder; use it in ``with``. It is whole only when that ends without an error.

    ``left_out`` names topics that could not be written, with the reason.
    """

    def __init__(self, path: Path, storage: str) -> None:
        """storage: ``mcap`` or ``sqlite3``.

        Raises:
            BagWriteError: that storage cannot be written at that path.
        """
        if storage == "sqlite3" and is_odd(path):
            raise BagWriteError(
                f"{path}: a path with one of {ODD_IN_PATHS} cannot be written as sqlite3; choose "
                "another, or mcap"
            )
        self.path = path
        self.left_out: List[str] = []
        self._writer = Writer(path, version=VERSION, storage_plugin=StoragePlugin[storage.upper()])
        self._topics: Dict[int, Optional[Connection]] = {}  # by the id() of what they copy
        self._sources: List[Connection] = []  # keeps those ids from being given again

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Raises BagWriteError if the writing failed."""
        try:
            self._writer.__exit__(kind, error, trace)
        except _UNWRITABLE as failure:
            raise BagWriteError(f"{self.path}: cannot be written ({failure})") from failure

    def note(self, text: str) -> None:
        """Say what the bag was made from, in its metadata."""
        self._writer.set_custom_data(NOTE, text)

    def offer(self, topic: str, kind: str, depth: int = 10, latched: bool = False) -> Connection:
        """Add a topic of an installed type, reliable, as the node offers it."""
        found = message_definitions.installed(kind)
        digest = found and message_definitions.type_hash(kind, found)
        if found is None or digest is None:
            raise BagWriteError(f"the definition of {kind} is not installed")
        durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
        qos = Qos(
            QosHistory.KEEP_LAST,
            depth,
            QosReliability.RELIABLE,
            durability,
            _FOREVER,
            _FOREVER,
            QosLiveliness.AUTOMATIC,
            _FOREVER,
            False,
        )
        return self._writer.add_connection(
            topic, kind, msgdef=found.data, rihs01=digest, offered_qos_profiles=[qos]
        )

    def put(self, connection: Connection, time_ns: int, data: bytes) -> None:
        """Write a message to a topic that was offered.

        Raises:
            BagWriteError: it cannot be written.
        """
        try:
            self._writer.write(connection, time_ns, data)
        except _UNWRITABLE as error:
            raise BagWriteError(
                f"{connection.topic}: a message of {time_ns} ns cannot be written ({error})"
            ) from error

    def write(self, source: Connection, time_ns: int, data: bytes) -> None:
        """Write a message of another bag's topic, which is added when its first message comes."""
        if id(source) not in self._topics:
            self._sources.append(source)
            self._topics[id(source)] = self._copied(source)
        connection = self._topics[id(source)]
        if connection is not None:
            self.put(connection, time_ns, data)

    def _copied(self, source: Connection) -> Optional[Connection]:
        found = message_definitions.of(source)
        if found is None:
            self.left_out.append(
                f"{source.topic}: the definition of {source.msgtype} is neither in the bag nor "
                "installed"
            )
            return None
        assert isinstance(source.ext, ConnectionExtRosbag2)
        return self._writer.add_connection(
            source.topic,
            source.msgtype,
            msgdef=found[0].data,
            rihs01=found[1],
            serialization_format=source.ext.serialization_format,
            offered_qos_profiles=source.ext.offered_qos_profiles,
        )
