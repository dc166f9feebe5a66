"""What a GGUF file says about itself, read without llama.cpp and without trusting a byte of it.

Layout (GGUF v2 and v3, little-endian): `GGUF`, version u32, tensor count u64, key count u64, the keys, the tensor
descriptions, padding to `general.alignment`, the tensors' data.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

Kind = Literal["chat", "embedding", "rerank"]
"""What a model is for: to answer, to make vectors of texts, to score how well texts answer a question."""
Value = int | float | bool | str | tuple[int | float | bool, ...]

_MAX_KEYS = 65_536
_MAX_TENSORS = 262_144
_MAX_ELEMENTS = 8_000_000
_MAX_STRING = 16_000_000
_KEPT_ARRAY = 4_096
_MAX_ALIGNMENT = 1 << 20

_STRING, _ARRAY = 8, 9
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}

# ggml_type → (name, elements in a block, bytes of a block)
_TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}  # fmt: skip

# llama_ftype, the mixture that the whole file was quantised to
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip

RANK = 4
"""llama.cpp's pooling type of models that rank: a score in place of a vector."""

_ENCODERS = {
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2", "jina-bert-v3", "eurobert",
    "gemma-embedding",
}  # fmt: skip


@dataclass(frozen=True)
class GgufInfo:
    """A model file's own description.

    `parameters` counts the elements of all tensors. `context_length` is what the model was trained for, in tokens,
    0 when the file doesn't say. `kv_bytes_per_token` is what one token of context costs in memory at 16 bits.
    `has_head`: there is a layer that classifies or ranks, by `classes` figures; `rerank_template` says what it reads.
    `fingerprint` is 8 hex digits over header and size: it tells files apart, it is no checksum.
    """

    architecture: str
    name: str
    parameters: int
    quantization: str
    context_length: int
    embedding_length: int
    vocabulary_size: int
    layers: int
    kv_bytes_per_token: int
    pooling: int | None
    license: str | None
    chat_template: str | None
    rerank_template: str | None
    has_head: bool
    classes: int
    kind: Kind
    size_bytes: int
    fingerprint: str

    @property
    def is_encoder(self) -> bool:
        """Whether it only reads, and was not made to generate."""
        return self.architecture in _ENCODERS


def read_gguf(path: Path) -> GgufInfo:
    """The description of the model in `path`.

    Raises ValueError with a reason that can be shown, when it is no GGUF, is cut off or makes no sense; OSError when it
    can't be read. Reads the header only: time and memory are bounded whatever the file claims.
    """
    with path.open("rb") as file:
        reader = _Reader(file, path.stat().st_size)
        tensor_count, key_count = _preamble(reader)
        metadata: dict[str, Value] = {}
        lengths: dict[str, int] = {}
        for _ in range(key_count):
            _read_key(reader, metadata, lengths)
        tensors = [_read_tensor(reader) for _ in range(tensor_count)]
        _check_data(reader, metadata, tensors)
        fingerprint = reader.fingerprint()
    return _describe(path, (metadata, lengths), tensors, reader.size, fingerprint)


@dataclass(frozen=True)
class _Tensor:
    name: str
    elements: int
    row: int
    kind: int
    offset: int

    def size(self) -> int | None:
        """Bytes of data, None for a type that is newer than this table."""
        known = _TENSOR_TYPES.get(self.kind)
        if known is None:
            return None
        name, block, block_bytes = known
        if self.row % block:
            raise ValueError(f"The file is damaged: a {name} tensor has rows of {self.row} elements.")
        return self.elements // block * block_bytes


class _Reader:
    """Bounded reads: what the file claims is compared with what the file has before anything is read or allocated."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.position = 0
        self._elements = 0

    def bytes(self, count: int) -> bytes:
        self._claim(count)
        data = self.file.read(count)
        if len(data) != count:
            raise ValueError("The file ends in the middle of its header: it is incomplete.")
        return data

    def skip(self, count: int) -> None:
        self._claim(count)
        self.file.seek(count, 1)

    def scalar(self, kind: int) -> int | float | bool:
        form = _SCALARS[kind]
        value: int | float | bool = struct.unpack(form, self.bytes(struct.calcsize(form)))[0]
        return value

    def u32(self) -> int:
        return int(self.scalar(4))

    def u64(self) -> int:
        return int(self.scalar(10))

    def string(self) -> str:
        length = self.u64()
        if length > _MAX_STRING:
            raise ValueError(f"The file is damaged: its header has a text of {length} bytes.")
        return self.bytes(length).decode("utf-8", "replace")

    def count(self, elements: int) -> None:
        """Elements of all arrays together are bounded, because walking them takes time."""
        self._elements += elements
        if self._elements > _MAX_ELEMENTS:
            raise ValueError(f"The file is damaged: its header lists more than {_MAX_ELEMENTS} values.")

    def fingerprint(self) -> str:
        header = hashlib.sha256(str(self.size).encode())
        left = self.position
        self.file.seek(0)
        while left > 0:
            data = self.file.read(min(left, 1 << 20))
            if not data:
                break
            header.update(data)
            left -= len(data)
        return header.hexdigest()[:8]

    def _claim(self, count: int) -> None:
        if count > self.size - self.position:
            raise ValueError("The file ends in the middle of its header: it is incomplete.")
        self.position += count


def _preamble(reader: _Reader) -> tuple[int, int]:
    if reader.size < 24 or reader.bytes(4) != b"GGUF":
        raise ValueError("The file is not a GGUF model.")
    version = reader.u32()
    if version not in (2, 3):
        raise ValueError(f"The file is GGUF version {version}; versions 2 and 3 (little-endian) can be read.")
    tensors, keys = reader.u64(), reader.u64()
    if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
        raise ValueError(f"The file is damaged: it claims {tensors} tensors and {keys} keys.")
    return tensors, keys


def _read_key(reader: _Reader, metadata: dict[str, Value], lengths: dict[str, int]) -> None:
    key = reader.string()
    kind = reader.u32()
    if kind == _STRING:
        metadata[key] = reader.string()
    elif kind in _SCALARS:
        metadata[key] = reader.scalar(kind)
    elif kind == _ARRAY:
        lengths[key] = _read_array(reader, key, metadata)
    else:
        raise ValueError(f"The file is damaged: a key of type {kind}.")


def _read_array(reader: _Reader, key: str, metadata: dict[str, Value]) -> int:
    kind, length = reader.u32(), reader.u64()
    reader.count(length)
    if kind == _STRING:
        for _ in range(length):
            reader.skip(reader.u64())
    elif kind in _SCALARS:
        form = _SCALARS[kind]
        if length <= _KEPT_ARRAY:
            metadata[key] = struct.unpack(f"<{length}{form[1]}", reader.bytes(length * struct.calcsize(form)))
        else:
            reader.skip(length * struct.calcsize(form))
    else:
        raise ValueError(f"The file is damaged: an array of type {kind}.")
    return length


def _read_tensor(reader: _Reader) -> _Tensor:
    name = reader.string()
    dimensions = reader.u32()
    if not 1 <= dimensions <= 4:
        raise ValueError(f"The file is damaged: a tensor of {dimensions} dimensions.")
    shape = [reader.u64() for _ in range(dimensions)]
    elements = math.prod(shape)
    if elements == 0 or elements >= 1 << 62:
        raise ValueError("The file is damaged: a tensor of impossible size.")
    return _Tensor(name, elements, shape[0], reader.u32(), reader.u64())


def _check_data(reader: _Reader, metadata: Mapping[str, Value], tensors: list[_Tensor]) -> None:
    alignment = _integer(metadata, "general.alignment", 32)
    if not 1 <= alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise ValueError(f"The file is damaged: an alignment of {alignment} bytes.")
    start = -(-reader.position // alignment) * alignment
    needed = max((start + tensor.offset + (tensor.size() or 0) for tensor in tensors), default=start)
    if tensors and needed > reader.size:
        raise ValueError(f"The file is incomplete: it has {reader.size} bytes and needs {needed}.")


def _describe(
    path: Path,
    keys: tuple[Mapping[str, Value], Mapping[str, int]],
    tensors: list[_Tensor],
    size: int,
    fingerprint: str,
) -> GgufInfo:
    metadata, lengths = keys
    architecture = _text(metadata, "general.architecture")
    if not architecture:
        raise ValueError("The file names no model architecture.")
    if not tensors:
        raise ValueError("The file holds no tensors: it is a vocabulary, not a model.")
    pooling = metadata.get(f"{architecture}.pooling_type")
    embedding_length = _integer(metadata, f"{architecture}.embedding_length", 0)
    layers = _integer(metadata, f"{architecture}.block_count", 0)
    return GgufInfo(
        architecture=architecture,
        name=_text(metadata, "general.name") or path.stem,
        parameters=sum(tensor.elements for tensor in tensors),
        quantization=_quantization(metadata, tensors),
        context_length=_integer(metadata, f"{architecture}.context_length", 0),
        embedding_length=embedding_length,
        vocabulary_size=lengths.get("tokenizer.ggml.tokens", 0),
        layers=layers,
        kv_bytes_per_token=_kv_bytes_per_token(metadata, architecture, layers, embedding_length),
        pooling=pooling if isinstance(pooling, int) else None,
        license=_text(metadata, "general.license") or None,
        chat_template=_text(metadata, "tokenizer.chat_template") or None,
        rerank_template=_text(metadata, "tokenizer.chat_template.rerank") or None,
        has_head=any(tensor.name.startswith("cls.") for tensor in tensors),
        classes=lengths.get(f"{architecture}.classifier.output_labels", 1),
        kind=_kind(architecture, pooling),
        size_bytes=size,
        fingerprint=fingerprint,
    )


def _kind(architecture: str, pooling: Value | None) -> Kind:
    if pooling == RANK:
        return "rerank"
    return "embedding" if architecture in _ENCODERS or (isinstance(pooling, int) and pooling > 0) else "chat"


def _quantization(metadata: Mapping[str, Value], tensors: list[_Tensor]) -> str:
    named = _FILE_TYPES.get(_integer(metadata, "general.file_type", -1))
    if named is not None:
        return named
    weight: Counter[int] = Counter()
    for tensor in tensors:
        weight[tensor.kind] += tensor.elements
    kind = weight.most_common(1)[0][0]
    return _TENSOR_TYPES[kind][0] if kind in _TENSOR_TYPES else f"type {kind}"


def _kv_bytes_per_token(metadata: Mapping[str, Value], architecture: str, layers: int, embedding_length: int) -> int:
    heads = max(_integer(metadata, f"{architecture}.attention.head_count", 1), 1)
    per_layer = metadata.get(f"{architecture}.attention.head_count_kv", heads)
    head_size = embedding_length // heads
    key = _integer(metadata, f"{architecture}.attention.key_length", head_size)
    value = _integer(metadata, f"{architecture}.attention.value_length", head_size)
    if isinstance(per_layer, tuple):
        kv_heads = sum(int(count) for count in per_layer)
    else:
        kv_heads = layers * int(per_layer) if isinstance(per_layer, int) else layers * heads
    return max(kv_heads, 0) * (key + value) * 2


def _text(metadata: Mapping[str, Value], key: str) -> str:
    value = metadata.get(key, "")
    return value if isinstance(value, str) else ""


def _integer(metadata: Mapping[str, Value], key: str, default: int) -> int:
    value = metadata.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else default
