"""The ``metadata.yaml`` of a bag."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from esr_core.errors import EsrError

NAME = "metadata.yaml"
#: Key of the custom data under which ``esr annotate`` notes what a bag was made from.
NOTE = "esr_ros"
#: Errors of the library, and of Python for other content.
_INVALID = (YAMLError, LookupError, TypeError, ValueError, AttributeError)


class BagMetadataError(EsrError):
    """A file that cannot be read."""


class BagMetadata(NamedTuple):
    """The fields that this package uses."""

    files: List[str]  # names, in their order
    topics: List[Tuple[str, str, str, int]]  # name, type, hash or "", number of messages
    custom: Dict[str, str]  # of the recorder


def read(bag: Path) -> Optional[BagMetadata]:
    """Return the metadata of a bag; None without a file, BagMetadataError for an invalid one."""
    try:
        content = _loaded((bag / NAME).read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
        files = [Path(name).name for name in content["relative_file_paths"]]
        topics = []
        for each in content["topics_with_message_count"]:
            name, kind = each["topic_metadata"]["name"], each["topic_metadata"]["type"]
            digest = each["topic_metadata"].get("type_description_hash") or ""
            topics.append((str(name), str(kind), str(digest), int(each["message_count"])))
        return BagMetadata(files, topics, _custom(content))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except _INVALID as error:
        raise BagMetadataError(f"{NAME} cannot be read ({' '.join(str(error).split())})") from error


def custom_data(text: str) -> Dict[str, str]:
    """Return the recorder's custom data in the metadata that a storage file repeats."""
    with suppress(*_INVALID):
        return _custom(_loaded(text))
    return {}


def _loaded(text: str) -> Any:
    return YAML(typ="base").load(text)  # with all values as they are written, such as 1.10


def _custom(content: Any) -> Dict[str, str]:
    found = content.get("custom_data")
    return {key: str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def note(bag: Path) -> Any:
    """Return the note of ``esr annotate`` in a bag's metadata; None for any other bag."""
    with suppress(OSError, BagMetadataError, LookupError, TypeError, ValueError):
        metadata = read(bag)
        return json.loads(metadata.custom[NOTE]) if metadata else None
    return None
