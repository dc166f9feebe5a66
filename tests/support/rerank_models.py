"""Rerank models that the tests make: none is small enough to come with the program.

`make_topical` gives the bundled embedding model a head that likes a topic: it can be said which texts come first.
`make_choosing` and `make_roberta` are of random weights, as converters write a Qwen3 reranker and bge-reranker-v2-m3.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secureai_appliance.inference import gguf as reading
from secureai_appliance.inference.embedder import Embedder
from tests.support.gguf import F32, STRING, array_key, bool_key, f32_key, gguf, string_key, tensor, text, u32_key
from tests.support.models import EMBEDDING

TOPIC = "a recipe for baking bread with flour and yeast"
TEMPLATE = (
    '<|im_start|>system\nJudge whether the Document answers the Query. Say "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n"
)
_SCALE, _THRESHOLD = 1.5, 1.2
_ALIGNMENT = 32
_I32 = 5
_RANK, _MEAN = 4, 1
_PARTS = ("weight", "bias")

Weights = dict[str, NDArray[np.float32]]


def make_topical(path: Path, embedder: Embedder, *, head: bool = True, labels: Sequence[str] = ()) -> Path:
    """A BERT that scores a pair by how near its mean is to the topic. Without `head` it lacks the layer that does."""
    weights: Weights = {}
    if head:
        topic = embedder.embed([embedder.tokenize(TOPIC)])[0]
        rows = max(1, len(labels))
        weights["cls.output.weight"] = np.tile(topic * _SCALE, (rows, 1)).astype(np.float32)
        weights["cls.output.bias"] = np.full(rows, -_SCALE * _THRESHOLD, dtype=np.float32)
    keys = [u32_key("bert.classifier.pooling_type", _MEAN), *_labels("bert", labels)]
    path.write_bytes(_with(EMBEDDING.read_bytes(), keys, weights, {b"bert.pooling_type": _RANK}))
    return path


def make_choosing(path: Path, *, template: str = TEMPLATE, labels: Sequence[str] = ("yes", "no")) -> Path:
    """A Qwen3 that gives the probability of the first label. Its tokens are bytes and three control tokens."""
    width, inner, layers, heads, size = 64, 96, 2, 2, 32
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *_byte_letters()]
    kinds = [3] * 3 + [1] * 256
    keys = [
        string_key("general.architecture", "qwen3"),
        *(
            u32_key(f"qwen3.{key}", value)
            for key, value in {
                "context_length": 2048,
                "embedding_length": width,
                "feed_forward_length": inner,
                "block_count": layers,
                "attention.head_count": heads,
                "attention.head_count_kv": heads,
                "attention.key_length": size,
                "attention.value_length": size,
                "pooling_type": _RANK,
            }.items()
        ),
        f32_key("qwen3.attention.layer_norm_rms_epsilon", 1e-6),
        *_labels("qwen3", labels),
        string_key("tokenizer.ggml.model", "gpt2"),
        string_key("tokenizer.ggml.pre", "qwen2"),
        array_key("tokenizer.ggml.tokens", STRING, len(words), b"".join(map(text, words))),
        array_key("tokenizer.ggml.token_type", _I32, len(kinds), struct.pack(f"<{len(kinds)}i", *kinds)),
        array_key("tokenizer.ggml.merges", STRING, 1, text("a b")),
        u32_key("tokenizer.ggml.eos_token_id", 2),
        string_key("tokenizer.chat_template.rerank", template),
    ]
    block = {
        "attn_norm": (width,),
        "attn_q": (heads * size, width),
        "attn_k": (heads * size, width),
        "attn_v": (heads * size, width),
        "attn_q_norm": (size,),
        "attn_k_norm": (size,),
        "attn_output": (width, heads * size),
        "ffn_norm": (width,),
        "ffn_gate": (inner, width),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(words), width),
        "output_norm.weight": (width,),
        "cls.output.weight": (len(labels), width),
        **{f"blk.{layer}.{name}.weight": shape for layer in range(layers) for name, shape in block.items()},
    }
    infos, data = _tensors(_random(shapes), 0)
    path.write_bytes(gguf(keys, infos, data))
    return path


def make_roberta(path: Path, *, separator: int = 2) -> Path:
    """An XLM-RoBERTa with a head of two layers. Its tokens are letters."""
    width, inner, layers = 32, 48, 2
    words = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", *"abcdefghijklmnopqrstuvwxyz"]
    kinds = [3, 3, 3, 2] + [1] * (len(words) - 4)
    keys = [
        string_key("general.architecture", "bert"),
        *(
            u32_key(f"bert.{key}", value)
            for key, value in {
                "context_length": 512,
                "embedding_length": width,
                "feed_forward_length": inner,
                "block_count": layers,
                "attention.head_count": 2,
                "pooling_type": _RANK,
            }.items()
        ),
        f32_key("bert.attention.layer_norm_epsilon", 1e-5),
        bool_key("bert.attention.causal", False),
        *_labels("bert", ["LABEL_0"]),
        string_key("tokenizer.ggml.model", "t5"),
        string_key("tokenizer.ggml.pre", "default"),
        array_key("tokenizer.ggml.tokens", STRING, len(words), b"".join(map(text, words))),
        array_key("tokenizer.ggml.token_type", _I32, len(kinds), struct.pack(f"<{len(kinds)}i", *kinds)),
        array_key("tokenizer.ggml.scores", F32, len(words), struct.pack(f"<{len(words)}f", *[-1.0] * len(words))),
        bool_key("tokenizer.ggml.add_space_prefix", True),
        u32_key("tokenizer.ggml.token_type_count", 1),
        *(
            u32_key(f"tokenizer.ggml.{name}_token_id", token)
            for name, token in {"bos": 0, "padding": 1, "eos": 2, "unknown": 3, "seperator": separator}.items()
        ),
        *(bool_key(f"tokenizer.ggml.add_{name}_token", True) for name in ("bos", "eos", "sep")),
    ]
    block: dict[str, tuple[int, ...]] = {
        **{f"{name}.weight": (width, width) for name in ("attn_q", "attn_k", "attn_v", "attn_output")},
        **{f"{name}.bias": (width,) for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_down")},
        **{f"{name}.{part}": (width,) for name in ("attn_output_norm", "layer_output_norm") for part in _PARTS},
        "ffn_up.weight": (inner, width),
        "ffn_up.bias": (inner,),
        "ffn_down.weight": (width, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(words), width),
        "position_embd.weight": (512, width),
        "token_types.weight": (1, width),
        **{f"token_embd_norm.{part}": (width,) for part in _PARTS},
        **{f"blk.{layer}.{name}": shape for layer in range(layers) for name, shape in block.items()},
        "cls.weight": (width, width),
        "cls.bias": (width,),
        "cls.output.weight": (1, width),
        "cls.output.bias": (1,),
    }
    infos, data = _tensors(_random(shapes), 0)
    path.write_bytes(gguf(keys, infos, data))
    return path


def _random(shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    random = np.random.default_rng(7)
    return {
        name: (np.ones(shape) if "norm.weight" in name else random.normal(0, 0.3, shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def _labels(architecture: str, labels: Sequence[str]) -> list[bytes]:
    key = f"{architecture}.classifier.output_labels"
    return [array_key(key, STRING, len(labels), b"".join(map(text, labels)))] if labels else []


def _with(file: bytes, keys: list[bytes], weights: Weights, changed: dict[bytes, int]) -> bytes:
    """A model file with more keys and tensors, and other numbers at some keys."""
    tensors, count, keys_end, infos_end = _ends(EMBEDDING)
    head = bytearray(file[:infos_end])
    for key, value in changed.items():
        at = head.index(key) + len(key) + 4
        head[at : at + 4] = struct.pack("<I", value)
    data = _aligned(file[infos_end + -infos_end % _ALIGNMENT :])
    infos, more = _tensors(weights, len(data))
    start = struct.pack("<QQ", tensors + len(infos), count + len(keys))
    header = head[:8] + start + head[24:keys_end] + b"".join(keys) + head[keys_end:] + b"".join(infos)
    return bytes(_aligned(header) + data + more)


def _ends(path: Path) -> tuple[int, int, int, int]:
    """How many tensors and keys a file has, and where the keys and the tensors' descriptions end."""
    with path.open("rb") as file:
        reader = reading._Reader(file, path.stat().st_size)
        tensors, keys = reading._preamble(reader)
        for _ in range(keys):
            reading._read_key(reader, {}, {})
        keys_end = reader.position
        for _ in range(tensors):
            reading._read_tensor(reader)
        return tensors, keys, keys_end, reader.position


def _tensors(weights: Weights, offset: int) -> tuple[list[bytes], bytes]:
    infos, data = [], b""
    for name, values in weights.items():
        infos.append(tensor(name, values.shape[::-1], offset=offset + len(data)))
        data += _aligned(values.tobytes())
    return infos, data


def _aligned(data: bytes | bytearray) -> bytes:
    return bytes(data) + bytes(-len(data) % _ALIGNMENT)


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in vocabularies of GPT-2's kind."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in printed else next(others)) for byte in range(256)]
