"""Containers of videos (MP4, AVI, Matroska): times of frames, codec and size, as OpenCV lacks them.

ISO/IEC 14496-12 (boxes of MP4), RFC 9559 (elements of Matroska and WebM).
"""

from __future__ import annotations

import math
import os
import re
import struct
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, List, Sequence, Tuple, Union

_MATROSKA = b"\x1aE\xdf\xa3"
#: The boxes of the clocks and of the times and the number of the frames.
_NEEDED = (b"mvhd", b"mdhd", b"stts", b"stsz")
#: The boxes around the times of the frames.
_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
#: Boxes with a duration: its offset in version 0, where it has 4 bytes, and 1, where it has 8.
_DURATIONS = {b"mvhd": (24, 32), b"tkhd": (28, 36), b"mdhd": (24, 32), b"elst": (16, 16)}
#: The longest duration of a frame, in ticks, that FFmpeg reads.
_LONGEST = 2**31 - 1
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
            _, start = _moov(stream)
            if not start:
                return "an MP4 that is cut off or damaged; its list of frames is missing"
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
        _, moov = _moov(stream)
    movie, pictures = moov.find(b"mvhd") - 4, re.search(rb"hdlr.{8}vide", moov, re.DOTALL)
    track = moov.rfind(b"tkhd", 0, pictures.start()) - 4 if pictures else -1
    if min(movie, track) < 0:
        return math.inf
    rate = _rate(moov, movie)
    ticks = _number(moov, track + 36, ">Q") if moov[track + 8] else _number(moov, track + 28)
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
        count = 9 - start[segment].bit_length()  # bytes of the length
        unknown = (1 << 7 * count) - 1  # the length of a live recording
        length = int.from_bytes(start[segment : segment + count], "big") & unknown
        return length != unknown and segment + count + length > path.stat().st_size
    return start[:4] == b"RIFF" or start[4:8] == b"ftyp"


def set_stamps(path: Path, stamps_s: Sequence[float], last_s: float) -> bool:
    """Set the times of the frames of an MP4 that OpenCV has written at a constant rate.

    stamps_s: of each frame; the first is at 0 in the file. last_s: duration of the last frame.
    Returns False for another number of frames, or another order of boxes than FFmpeg's.
    """
    with path.open("r+b") as stream:
        begin, content = _moov(stream)
        moov = bytearray(content)
        mvhd, mdhd, stts, stsz = (moov.find(kind) - 4 for kind in _NEEDED)
        is_last = int.from_bytes(moov[:4], "big") == path.stat().st_size - begin  # and complete
        if not is_last or min(mvhd, mdhd, stts, stsz) < 0:
            return False
        if not 0 < _number(moov, stsz + 16) == len(stamps_s):
            return False
        rate, movie_rate = _rate(moov, mdhd), _rate(moov, mvhd)
        ticks: List[int] = []
        for stamp_s in [*stamps_s, stamps_s[-1] + last_s]:
            tick = round((stamp_s - stamps_s[0]) * rate)
            ticks.append(max(tick, ticks[-1] + 1) if ticks else 0)  # players want no duration of 0
        for kind, offsets in _DURATIONS.items():
            box = moov.find(kind) - 4
            if box >= 0:
                total = ticks[-1] if kind == b"mdhd" else -(-ticks[-1] * movie_rate // rate)
                form, most = (">Q", 2**64 - 1) if moov[box + 8] else (">I", 2**32 - 1)
                struct.pack_into(form, moov, box + offsets[bool(moov[box + 8])], min(total, most))
        durations = [min(later - earlier, _LONGEST) for earlier, later in zip(ticks, ticks[1:])]
        runs = [(len(list(run)), ticks_of_each) for ticks_of_each, run in groupby(durations)]
        table = b"".join(struct.pack(">II", *run) for run in runs)
        old_size, size = _number(moov, stts), 16 + len(table)
        moov[stts : stts + old_size] = struct.pack(">I4sII", size, b"stts", 0, len(runs)) + table
        for kind in _PARENTS:
            box = moov.find(kind) - 4
            struct.pack_into(">I", moov, box, _number(moov, box) + size - old_size)
        stream.seek(begin)
        stream.write(moov)
        stream.truncate()
    return True


def _moov(stream: BinaryIO) -> Tuple[int, bytes]:
    """Return the offset and the bytes of an MP4's box moov; no bytes if there is no whole one."""
    begin, end = 0, stream.seek(0, os.SEEK_END)
    while True:
        stream.seek(begin)
        size, kind, large = struct.unpack(">I4sQ", stream.read(16).ljust(16, b"\0"))
        size = large if size == 1 else size  # 0: up to the end of the file
        if size < 8 or begin + size > end:  # or it is cut off
            return begin, b""
        if kind == b"moov":
            stream.seek(begin)
            return begin, stream.read(size)
        begin += size


def _rate(moov: Union[bytes, bytearray], box: int) -> int:
    """Return the ticks per second of a box mvhd or mdhd, which begins at ``box``."""
    return _number(moov, box + (28 if moov[box + 8] else 20))


def _number(data: Union[bytes, bytearray], at: int, form: str = ">I") -> int:
    return int(struct.unpack_from(form, data, at)[0])
