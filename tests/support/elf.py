"""ELF files with nothing in them but named sections."""

from __future__ import annotations

import struct

_HEADER = 64


def elf_file(sections: dict[str, bytes]) -> bytes:
    """A 64-bit little-endian ELF file: header, the sections' bytes, their names, the table."""
    body = b""
    names = b"\0"
    entries = [(0, 0, 0)]
    for name, content in {**sections, ".shstrtab": b""}.items():
        start = len(names)
        names += name.encode() + b"\0"
        if name == ".shstrtab":
            content = names  # noqa: PLW2901 - the names are complete only now
        entries.append((start, _HEADER + len(body), len(content)))
        body += content
    table = _HEADER + len(body)
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, len(entries), len(entries) - 1)
    )
    rows = [struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, offset, size, 0, 0, 1, 0) for name, offset, size in entries]
    return header + body + b"".join(rows)
