"""GGUF headers, right and wrong ones."""

from __future__ import annotations

import struct

STRING, ARRAY, U32, F32, BOOL = 8, 9, 4, 6, 7


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def string_key(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", STRING) + text(value)


def u32_key(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", U32, value)


def bool_key(key: str, value: bool) -> bytes:
    return text(key) + struct.pack("<I?", BOOL, value)


def f32_key(key: str, value: float) -> bytes:
    return text(key) + struct.pack("<If", F32, value)


def array_key(key: str, kind: int, count: int, data: bytes) -> bytes:
    return text(key) + struct.pack("<IIQ", ARRAY, kind, count) + data


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def gguf(keys: list[bytes], tensors: list[bytes], data: bytes = b"", *, version: int = 3) -> bytes:
    """A file whose tensors' data follows the header, aligned to 32 bytes."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data
