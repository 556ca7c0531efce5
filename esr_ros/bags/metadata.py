"""What the ``metadata.yaml`` of a bag says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from esr_core.errors import EsrError

NAME = "metadata.yaml"


class BagMetadataError(EsrError):
    """It cannot be read."""


class Topic(NamedTuple):
    """A topic, as the recorder told of it."""

    name: str
    type: str
    digest: str  # empty: not told
    messages: int


class BagMetadata(NamedTuple):
    """What is used of it."""

    files: List[str]  # names, in their order
    topics: List[Topic]
    custom: Dict[str, str]


def read(bag: Path) -> Optional[BagMetadata]:
    """Return what is told of a bag, None if nothing is.

    Raises:
        BagMetadataError: there is something, which cannot be read.
    """
    try:
        text = (bag / NAME).read_text(encoding="utf-8")
        told = YAML(typ="safe").load(text)["rosbag2_bagfile_information"]
        return BagMetadata(
            [Path(name).name for name in told["relative_file_paths"]],
            [_topic(each) for each in told["topics_with_message_count"]],
            dict(told.get("custom_data") or {}),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        said = " ".join(str(error).split())
        raise BagMetadataError(f"{NAME} cannot be read ({said})") from error


def _topic(told: Any) -> Topic:
    about = told["topic_metadata"]
    digest = about.get("type_description_hash") or ""
    return Topic(str(about["name"]), str(about["type"]), str(digest), int(told["message_count"]))
