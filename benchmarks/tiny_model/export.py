"""The trained model for engines: a Hugging Face folder, and a GGUF file in Q8_0."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.tiny_model.vocabulary import END, END_OF_TEXT, SPECIAL, TEMPLATE

NAME = "tts-tiny"


def write(model: LlamaForCausalLM, tokenizer: Path, folder: Path, file: Path) -> None:
    """Both hold the same numbers: the folder's are those of the file, read back, so that engines can be compared."""
    tensors = {name: _stored(name, tensor) for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    model.load_state_dict(
        {name: torch.from_numpy(_read_back(*stored)) for name, stored in tensors.items()}, strict=False
    )
    model.save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer), eos_token=END, pad_token=END_OF_TEXT)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    _write_gguf(model, Tokenizer.from_file(str(tokenizer)), tensors, file)


def _stored(name: str, tensor: torch.Tensor) -> tuple[np.ndarray, gguf.GGMLQuantizationType]:
    """Matrices in blocks of 8 bits, as llama.cpp reads them; what scales a norm as it is."""
    values = tensor.float().numpy()
    kind = gguf.GGMLQuantizationType.Q8_0 if values.ndim > 1 else gguf.GGMLQuantizationType.F32
    return gguf.quantize(values, kind), kind


def _read_back(values: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    return gguf.dequantize(values, kind).astype(np.float32)


def _write_gguf(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    tensors: dict[str, tuple[np.ndarray, gguf.GGMLQuantizationType]],
    file: Path,
) -> None:
    config = model.config
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_name(NAME)
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _write_vocabulary(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, (values, kind) in tensors.items():
        rows = next((_interleaved(values, count) for part, count in heads.items() if part in name), values)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), rows, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.token_to_id(END))
    writer.add_pad_token_id(tokenizer.token_to_id(END_OF_TEXT))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key matrix as llama.cpp's rotation wants them: the two halves of each head by turns."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)
