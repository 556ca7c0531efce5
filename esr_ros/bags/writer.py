"""A writer of bags for ``ros2 bag`` and Foxglove: with definitions, hashes and QoS inside."""

from __future__ import annotations

import sqlite3
import struct
from pathlib import Path
from typing import Any, Dict, List, Literal, Mapping, Optional

from mcap.records import Attachment
from rosbags import interfaces
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinitionFormat,
    QosDurability,
)
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError

from esr_core.errors import EsrError
from esr_ros.bags import message_definitions
from esr_ros.bags.mcap_writer import McapWriter
from esr_ros.bags.metadata import NOTE
from esr_ros.bags.reader import BagReader

#: The version of metadata.yaml that Humble to Kilted read.
VERSION: Literal[8] = 8
_FOREVER = interfaces.QosTime(9223372036, 854775807)  # of rmw/time.h
#: Characters that rosbags takes for the syntax of a URI in the path of an SQLite database.
_ODD_IN_PATHS = "#?%"
#: Errors of the library, of SQLite, and of Python for times that no field holds.
_UNWRITABLE = (WriterError, sqlite3.Error, OverflowError, struct.error)


class BagWriteError(EsrError):
    """A bag that cannot be written."""


class _Writer(Writer):
    STORAGE_PLUGINS: Mapping[StoragePlugin, Any] = {
        **Writer.STORAGE_PLUGINS,
        StoragePlugin.MCAP: McapWriter,
    }


class BagWriter:
    """A new bag, a folder; use it in ``with``. It is whole only when that ends without an error.

    ``left_out`` names what could not be written, with the reason.
    """

    def __init__(self, path: Path, storage: str) -> None:
        """storage: ``mcap`` or ``sqlite3``; BagWriteError if it cannot be written at that path."""
        if storage == "sqlite3" and set(_ODD_IN_PATHS) & set(str(path)):
            raise BagWriteError(
                f"{path}: a path with one of {_ODD_IN_PATHS} cannot be written as sqlite3; choose "
                "another, or mcap"
            )
        self.path = path
        self.left_out: List[str] = []
        self._writer = _Writer(path, version=VERSION, storage_plugin=StoragePlugin[storage.upper()])
        self._copies: Dict[int, Optional[Connection]] = {}  # by the number of the source

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, *error: Any) -> None:
        """Raises BagWriteError if the writing failed."""
        try:
            self._writer.__exit__(*error)
        except _UNWRITABLE as failure:
            raise BagWriteError(f"{self.path}: cannot be written ({failure})") from failure

    def note(self, text: str) -> None:
        """Write a note into the metadata, as :func:`esr_ros.bags.metadata.note` returns it."""
        self._writer.set_custom_data(NOTE, text)

    def offer(self, topic: str, kind: str, depth: int = 10, latched: bool = False) -> Connection:
        """Add a topic of an installed type with the node's QoS: reliable."""
        definition = message_definitions.installed(kind)
        digest = definition and message_definitions.type_hash(kind, definition)
        if definition is None or digest is None:
            raise BagWriteError(f"the definition of {kind} is not installed")
        qos = interfaces.Qos(
            history=interfaces.QosHistory.KEEP_LAST,
            depth=depth,
            reliability=interfaces.QosReliability.RELIABLE,
            durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
            deadline=_FOREVER,
            lifespan=_FOREVER,
            liveliness=interfaces.QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=_FOREVER,
            avoid_ros_namespace_conventions=False,
        )
        return self._writer.add_connection(
            topic, kind, msgdef=definition.data, rihs01=digest, offered_qos_profiles=[qos]
        )

    def put(self, connection: Connection, time_ns: int, data: bytes) -> None:
        """Write a message to a topic that was added; BagWriteError if it cannot be written."""
        try:
            self._writer.write(connection, time_ns, data)
        except _UNWRITABLE as error:
            raise BagWriteError(
                f"{connection.topic}: a message of {time_ns} ns cannot be written ({error})"
            ) from error

    def write(self, source: Connection, time_ns: int, data: bytes) -> None:
        """Write a message of the bag that is copied; its topic is added with the first message."""
        if source.id not in self._copies:
            self._copies[source.id] = self._copy(source)
        connection = self._copies[source.id]
        if connection is not None:
            self.put(connection, time_ns, data)

    def write_extras(self, bag: BagReader) -> None:
        """Write what a bag has besides messages: custom data, attachments, metadata records."""
        for key, value in bag.custom_data().items():
            self._writer.set_custom_data(key, value)
        storage = self._writer.storage
        for record in bag.records():
            if isinstance(storage, McapWriter):
                storage.add_record(record)
            else:
                kind = "attachment" if isinstance(record, Attachment) else "metadata record"
                self.left_out.append(f"{kind} {record.name}: only MCAP files have any")

    def _copy(self, source: Connection) -> Optional[Connection]:
        definition, digest = message_definitions.of(source)
        if definition.format == MessageDefinitionFormat.NONE and definition.data:
            reason = "its definition is neither .msg nor IDL, and the type is not installed"
            self.left_out.append(f"{source.topic}: {reason}")
            return None
        assert isinstance(source.ext, ConnectionExtRosbag2)
        return self._writer.add_connection(
            source.topic,
            source.msgtype,
            msgdef=message_definitions.with_heading(source.msgtype, definition),
            rihs01=digest or message_definitions.UNKNOWN_HASH,
            serialization_format=source.ext.serialization_format,
            offered_qos_profiles=source.ext.offered_qos_profiles,
        )
