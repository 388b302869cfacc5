"""The trained model for engines: a GGUF file, and a Hugging Face folder of the same numbers.

python -m benchmarks.tiny_model.export [FILE.gguf] [FOLDER]    # the folder, from the file that ships; no training
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.tiny_model.chat import END, END_OF_TEXT, SPECIAL, TEMPLATE
from benchmarks.tiny_model.vocabulary import split
from tts.models.weights import pull

NAME = "tts-tiny"


def write_folder(file: Path, folder: Path) -> None:
    """What `transformers` and vLLM load, with the numbers as they are in the file."""
    model = LlamaForCausalLM.from_pretrained(file.parent, gguf_file=file.name)
    model.hf_quantizer = None  # it says how the file was read; the folder holds plain float32
    del model.config.quantization_config
    fields = gguf.GGUFReader(file).fields
    tokenizer = Tokenizer(
        models.BPE(
            {token: i for i, token in enumerate(fields["tokenizer.ggml.tokens"].contents())},
            [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()],
        )
    )
    tokenizer.pre_tokenizer = split()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END_OF_TEXT)
    fast.chat_template = TEMPLATE
    model.config.bos_token_id = model.generation_config.bos_token_id = None
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


def write_file(model: LlamaForCausalLM, tokenizer: Tokenizer, file: Path) -> None:
    """Numbers of half precision; those of the attention and the embedding take the room of single precision, because
    llama.cpp rounds to a matrix's precision what it multiplies it with. With all of them in half, 2 of 300
    greedy texts differed from `transformers`', in 8 bits 3 to 5 of 50; with this, none of 300."""
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
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    _write_vocabulary(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":  # tied to the embedding
            continue
        values = tensor.float().numpy()
        values = next((_interleaved(values, count) for part, count in heads.items() if part in name), values)
        kind = gguf.GGMLQuantizationType.F16 if ".mlp." in name else gguf.GGMLQuantizationType.F32
        stored = gguf.quantize(values, kind)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), stored, raw_dtype=kind)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="none is what ships")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(f"{NAME}-hf"))
    given = parser.parse_args()
    write_folder(given.file or pull(), given.folder)
    print(given.folder)


if __name__ == "__main__":
    main()
