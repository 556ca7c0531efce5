"""What can be downloaded: the published learner's files, and a face detector for OpenCV.

Nothing here is needed to run the node with the weights that ship.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esr_core.download import extract, fetch
from esr_core.errors import DownloadError, OptionError

#: The published learner's folder for this method on its server.
OPENDR = "ftp://opendrdata.csd.auth.gr/perception/facial_emotion_estimation"
#: OpenCV's model zoo, at a fixed commit.
OPENCV_ZOO = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/"
    "82b38c8f98e7b52aa171400f3e4c722352d0669f/models"
)


@dataclass(frozen=True)
class Item:
    """A file on a server, and where it goes."""

    description: str
    server: str
    folder: str
    file: str
    unpacked: str = ""  # the folder that the archive holds
    sha256: str = ""  # empty: its publisher gives none


CATALOGUE = {
    "data": Item("a small AffectNet", OPENDR, "data", "AffectNet_micro.zip", "AffectNet_micro"),
    "pretrained": Item(
        "the published ESR-9, not for commercial use", OPENDR, "pretrained", "esr_9.zip", "esr_9"
    ),
    "demo_image": Item("a picture with a face", OPENDR, "demo", "sheldon.jpg"),
    "demo_video": Item("a film with faces", OPENDR, "demo", "big_bang.mp4"),
    "face_detector": Item(
        "YuNet for OpenCV's FaceDetectorYN, MIT licence",
        OPENCV_ZOO,
        "face_detection_yunet",
        "face_detection_yunet_2023mar.onnx",
        # From the zoo's own record of the file at that commit; 232,589 bytes.
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    ),
}


def get(item: Item, root: Path, server: str | None = None) -> Path:
    """Download into ``root``, unpack what is packed, and return where the file or folder lies.

    server: another one with the same folders. What is there already stays, and a download that
    broke goes on.

    Raises:
        OptionError: ``server`` is no address.
        DownloadError: the server cannot be reached, or the content is damaged or dangerous.
    """
    target = root / item.folder / item.file
    unpacked = target.parent / item.unpacked
    if item.unpacked and unpacked.is_dir():
        return unpacked
    server = item.server if server is None else server
    if not isinstance(server, str) or not server:
        raise OptionError(f"url must be the address of a folder, but got {server!r}")
    fetch(f"{server.rstrip('/')}/{item.folder}/{item.file}", target, item.sha256)
    if not item.unpacked:
        return target
    try:
        extract(target, target.parent)
    except DownloadError as error:
        raise DownloadError(f"{error}; remove {target} to download it anew") from error
    if not unpacked.is_dir():
        raise DownloadError(f"{target}: unpacked, but it holds no {item.unpacked}")
    return unpacked
