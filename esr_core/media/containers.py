"""Containers of videos (MP4, AVI, Matroska): times of frames, codec and size, as OpenCV lacks them.

ISO/IEC 14496-12 (boxes of MP4), RFC 9559 (elements of Matroska and WebM).
"""

from __future__ import annotations

import math
import re
import struct
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Dict, Iterator, List, Mapping, Sequence, Tuple

_MATROSKA = b"\x1aE\xdf\xa3"
#: Boxes that hold others.
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
#: Boxes with a duration: its offset in version 0, where it has 4 bytes, and 1, where it has 8.
_DURATIONS = {b"mvhd": (24, 32), b"tkhd": (28, 36), b"mdhd": (24, 32), b"elst": (16, 16)}
#: The codec of the pictures, by the first bytes of the file or its box moov.
_PICTURES = re.compile(
    rb"hdlr.{8}vide.*?stsd.{12}(....)|strh.{4}vids(....)|(V_[A-Z0-9]{3}[A-Z0-9/]*)", re.DOTALL
)
_SOUND = re.compile(rb"hdlr.{8}soun|strh.{4}auds|A_[A-Z]{3}", re.DOTALL)
_START_BYTES = 1 << 16


def unreadable(path: Path) -> str:
    """Return the reason for which OpenCV may not open a file, by its content."""
    with path.open("rb") as stream:
        start = stream.read(_START_BYTES)
        if start[4:8] == b"ftyp":
            boxes = dict(_boxes(stream))
            if b"moov" not in boxes:
                return "an MP4 that is cut off or damaged; its list of frames is missing"
            start = _read(stream, *boxes[b"moov"])
        elif start[:4] not in (_MATROSKA, b"RIFF"):
            return "not a video that can be read, such as MP4, AVI or MKV"
    pictures = _PICTURES.search(start)
    if pictures:
        codec = next(filter(None, pictures.groups())).decode("ascii", "replace").strip()
        return f"its codec, {codec}, is not in this OpenCV, or it is damaged"
    if _SOUND.search(start) or start[8:12] == b"WAVE":
        return "has sound only, no pictures"
    return "neither pictures nor sound are found in it"


def duration_s(path: Path) -> float:
    """Return the duration that an MP4 states for its pictures, after its edit list; else inf."""
    with path.open("rb") as stream:
        begin, size = dict(_boxes(stream)).get(b"moov", (0, 0))
        moov = _read(stream, begin, size)
    movie, pictures = moov.find(b"mvhd") + 4, re.search(rb"hdlr.{8}vide", moov, re.DOTALL)
    track = moov.rfind(b"tkhd", 0, pictures.start()) + 4 if pictures else 3
    if min(movie, track) < 4:
        return math.inf
    (rate,) = struct.unpack_from(">I", moov, movie + (20 if moov[movie] else 12))
    form, at = (">Q", 28) if moov[track] else (">I", 20)
    ticks = int(struct.unpack_from(form, moov, track + at)[0])
    return ticks / rate if ticks and rate else math.inf


def lacks_frames(path: Path) -> bool:
    """Return whether a file whose last frame is before its duration is known to lack frames.

    MP4 and AVI list all frames. Others do not, and their sound may last longer than their
    pictures; of these, Matroska states how long the file is.
    """
    with path.open("rb") as stream:
        start = stream.read(64)
    segment = start.find(b"\x18\x53\x80\x67") + 4
    if start[:4] == _MATROSKA and segment > 4:
        length, has = _number(start, segment)
        is_known = length != (1 << 7 * has) - 1  # not of a live recording
        return is_known and segment + has + length > path.stat().st_size
    return start[:4] == b"RIFF" or start[4:8] == b"ftyp"


def _number(data: bytes, at: int) -> Tuple[int, int]:
    """Return a number of variable length of Matroska, and its length in bytes."""
    count = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + count], "big") & ((1 << 7 * count) - 1), count


def _boxes(stream: BinaryIO, begin: int = 0) -> Iterator[Tuple[bytes, Tuple[int, int]]]:
    """Yield kind, offset and size of the outermost boxes of an MP4."""
    while True:
        stream.seek(begin)
        head = stream.read(16).ljust(16, b"\0")
        size, kind, large = struct.unpack(">I4sQ", head)
        size = large if size == 1 else size  # 0: up to the end of the file
        if size < 8:
            return
        yield kind, (begin, size)
        begin += size


def _read(stream: BinaryIO, begin: int, size: int) -> bytes:
    stream.seek(begin)
    return stream.read(size)


def set_stamps(path: Path, stamps_s: Sequence[float], last_s: float) -> bool:
    """Set the times of the frames of an MP4 that OpenCV has written at a constant rate.

    stamps_s: of each frame; the first is at 0 in the file. last_s: duration of the last frame.
    Returns False for another number of frames, or another order of boxes than FFmpeg's.
    """
    with path.open("r+b") as stream:
        begin, size = dict(_boxes(stream)).get(b"moov", (0, 0))
        if begin + size != path.stat().st_size:
            return False
        moov = _read(stream, begin, size)
        fields: Dict[bytes, bytes] = {}
        _rebuilt(moov, fields)
        if not fields.keys() >= {b"mvhd", b"mdhd", b"stts", b"stsz"}:
            return False
        (count,) = struct.unpack_from(">I", fields[b"stsz"], 16)
        if count != len(stamps_s):
            return False
        rate, movie_rate = (
            struct.unpack_from(">I", box, 28 if box[8] else 20)[0]
            for box in (fields[b"mdhd"], fields[b"mvhd"])
        )
        ticks: List[int] = []
        for stamp_s in [*stamps_s, stamps_s[-1] + last_s]:
            tick = round((stamp_s - stamps_s[0]) * rate)
            ticks.append(max(tick, ticks[-1] + 1) if ticks else 0)  # players want no duration of 0
        durations = [later - earlier for earlier, later in zip(ticks, ticks[1:])]
        runs = [(len(list(run)), ticks_of_each) for ticks_of_each, run in groupby(durations)]
        table = struct.pack(">II", 0, len(runs)) + b"".join(struct.pack(">II", *r) for r in runs)
        new = {b"stts": struct.pack(">I4s", 8 + len(table), b"stts") + table}
        for kind, offsets in _DURATIONS.items():
            box = bytearray(fields.get(kind, bytes(64)))
            total = ticks[-1] if kind == b"mdhd" else -(-ticks[-1] * movie_rate // rate)
            form, most = (">Q", 2**64 - 1) if box[8] else (">I", 2**32 - 1)
            struct.pack_into(form, box, offsets[bool(box[8])], min(total, most))
            new[kind] = bytes(box)
        stream.seek(begin)
        stream.write(_rebuilt(moov, fields, new))
        stream.truncate()
    return True


def _rebuilt(
    data: bytes, found: Dict[bytes, bytes], new: Mapping[bytes, bytes] = MappingProxyType({})
) -> bytes:
    """Return boxes with those of ``new`` in their places; ``found`` gets the old ones."""
    parts, at = [], 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        box = found[kind] = data[at : at + max(size, 8)]
        if kind in _PARENTS:
            inside = _rebuilt(box[8:], found, new)
            box = struct.pack(">I4s", 8 + len(inside), kind) + inside
        parts.append(new.get(kind, box))
        at += max(size, 8)
    return b"".join(parts)
