"""Named sections of an ELF file: how the onefile carries its models without unpacking them at every start."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

_HEADER_BYTES = 64
_ENTRY = struct.Struct("<IIQQQQIIQQ")
_MOST_SECTIONS = 1024


@dataclass(frozen=True)
class Section:
    """Where a section's bytes lie in the file; both figures in bytes."""

    offset: int
    size: int


def read_sections(file: BinaryIO) -> dict[str, Section]:
    """The sections of a 64-bit little-endian ELF file by name. Raises ValueError for anything else.

    Layout: System V gABI, chapter 4, "Sections".
    """
    file.seek(0)
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or header[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", header, 0x28)
    entry_bytes, count, names_index = struct.unpack_from("<HHH", header, 0x3A)
    if entry_bytes != _ENTRY.size or not names_index < count <= _MOST_SECTIONS:
        raise ValueError("its section table is damaged")
    file.seek(table)
    raw = file.read(_ENTRY.size * count)
    if len(raw) < _ENTRY.size * count:
        raise ValueError("its section table is cut off")
    entries = list(_ENTRY.iter_unpack(raw))
    names = _read_names(file, Section(entries[names_index][4], entries[names_index][5]))
    return {_name_at(names, entry[0]): Section(entry[4], entry[5]) for entry in entries}


def _read_names(file: BinaryIO, section: Section) -> bytes:
    if section.size > 64 * _MOST_SECTIONS:
        raise ValueError("its table of names is damaged")
    file.seek(section.offset)
    return file.read(section.size)


def _name_at(names: bytes, start: int) -> str:
    return names[start : names.find(b"\0", start)].decode("utf-8", "replace")
