"""A model file's own description, from honest and from hostile files."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

from secureai_appliance.inference.gguf import read_gguf
from tests.support.gguf import STRING, array_key, gguf, string_key, tensor, text, u32_key
from tests.support.models import CHAT, EMBEDDING

LLAMA = [
    string_key("general.architecture", "llama"),
    u32_key("llama.context_length", 4096),
    u32_key("llama.embedding_length", 64),
    u32_key("llama.block_count", 2),
    u32_key("llama.attention.head_count", 4),
    u32_key("llama.attention.head_count_kv", 2),
]


def write(folder: Path, data: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


def test_the_bundled_chat_model_describes_itself() -> None:
    info = read_gguf(CHAT)

    assert (info.architecture, info.quantization, info.context_length) == ("llama", "Q4_1", 8192)
    assert info.parameters == 134_515_008
    assert info.vocabulary_size == 49_152
    assert info.kv_bytes_per_token == 30 * 3 * (64 + 64) * 2
    assert info.chat_template is not None
    assert info.kind == "chat"


def test_the_bundled_embedding_model_describes_itself() -> None:
    info = read_gguf(EMBEDDING)

    assert (info.architecture, info.quantization, info.context_length) == ("bert", "Q8_0", 512)
    assert (info.embedding_length, info.pooling, info.kind) == (384, 1, "embedding")


def test_a_small_file_is_described(tmp_path: Path) -> None:
    tokens = array_key("tokenizer.ggml.tokens", STRING, 2, text("a") + text("b"))
    keys = [*LLAMA, tokens, string_key("general.license", "mit")]
    info = read_gguf(write(tmp_path, gguf(keys, [tensor("w", (32, 2))], bytes(256))))

    assert (info.parameters, info.quantization, info.license, info.name) == (64, "F32", "mit", "model")
    assert info.vocabulary_size == 2
    assert info.kv_bytes_per_token == 2 * 2 * (16 + 16) * 2


def test_files_that_differ_have_different_fingerprints(tmp_path: Path) -> None:
    one = read_gguf(write(tmp_path, gguf(LLAMA, [tensor("w", (32,))], bytes(128)))).fingerprint
    other = read_gguf(write(tmp_path, gguf(LLAMA, [tensor("v", (32,))], bytes(128)))).fingerprint
    assert one != other


HOSTILE = {
    "empty": (b"", "not a GGUF"),
    "text": (b"PK\x03\x04" + bytes(100), "not a GGUF"),
    "version 1": (gguf(LLAMA, [], version=1), "version 1"),
    "big-endian": (gguf(LLAMA, [], version=3 << 24), "version"),
    "cut in the header": (gguf(LLAMA, [tensor("w", (32,))])[:80], "incomplete"),
    "cut in the data": (gguf(LLAMA, [tensor("w", (1024, 1024))], bytes(64)), "needs"),
    "no tensors": (gguf(LLAMA, []), "no tensors"),
    "no architecture": (gguf([], [tensor("w", (32,))], bytes(128)), "architecture"),
    "2^63 keys": (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 63), "claims"),
    "2^63 tensors": (b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0), "claims"),
    "a key of 2^62 bytes": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62), "damaged"),
    "an array of 2^60 strings": (gguf([array_key("a", STRING, 1 << 60, b"")], []), "more than"),
    "an array of 2^22 numbers that are not there": (gguf([array_key("a", 10, 1 << 22, b"")], []), "incomplete"),
    "an array of arrays": (gguf([array_key("a", 9, 1, b"")], []), "array of type 9"),
    "an unknown type": (gguf([text("a") + struct.pack("<I", 77)], []), "type 77"),
    "a tensor of 9 dimensions": (gguf(LLAMA, [tensor("w", (1,) * 9)]), "dimensions"),
    "a tensor without size": (gguf(LLAMA, [tensor("w", (0, 4))]), "impossible"),
    "a tensor that overflows": (gguf(LLAMA, [tensor("w", (1 << 40, 1 << 40))]), "impossible"),
    "half a block": (gguf(LLAMA, [tensor("w", (33,), kind=2)], bytes(64)), "rows of 33"),
    "an alignment of 3": (
        gguf([*LLAMA, u32_key("general.alignment", 3)], [tensor("w", (32,))], bytes(128)),
        "alignment",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_a_reason_and_little_memory(name: str, tmp_path: Path) -> None:
    data, reason = HOSTILE[name]
    path = write(tmp_path, data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=reason) as refusal:
            read_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert str(tmp_path) not in str(refusal.value)


def test_no_cut_of_a_header_is_taken_for_a_model(tmp_path: Path) -> None:
    whole = gguf(LLAMA, [tensor("w", (32,))], bytes(128))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="file"):
            read_gguf(write(tmp_path, whole[:length]))
