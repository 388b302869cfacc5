"""Two reward models of some 120,000 random weights each, for a vLLM that is tried by hand, as Hugging Face folders.

    python tests/support/tiny_reward_models.py FOLDER TOKENIZER      (needs transformers, torch and safetensors)
    vllm serve FOLDER/steps --runner pooling --pooler-config '{"tok_pooling_type": "STEP", "step_tag_id": ID}'
    vllm serve FOLDER/whole --runner pooling

ID is the number that the first command prints. The tests of `tests/verifiers/process/test_reward_model.py` then find
the servers by TTS_VLLM_STEPS_URL and TTS_VLLM_WHOLE_URL, which end in /v1.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

STEP_END = "<extra_0>"
WIDTH = 64
MODELS: dict[
    str, tuple[str, int, dict[str, tuple[int, ...]]]
] = {  # folder -> architecture, classes, weights of its head
    "steps": (
        "Qwen2ForProcessRewardModel",
        2,
        {
            "score.0.weight": (WIDTH, WIDTH),
            "score.0.bias": (WIDTH,),
            "score.2.weight": (2, WIDTH),
            "score.2.bias": (2,),
        },
    ),
    "whole": ("Qwen2ForSequenceClassification", 1, {"score.weight": (1, WIDTH)}),
}


def write(folder: Path, tokenizer: Any, architecture: str, classes: int, head: dict[str, tuple[int, ...]]) -> None:
    """Write a model, the same one each time."""
    import torch
    from safetensors.torch import save_file
    from transformers import Qwen2Config, Qwen2Model

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        num_labels=classes,
        architectures=[architecture],
    )
    weights = {f"model.{name}": value.contiguous() for name, value in Qwen2Model(config).state_dict().items()}
    weights |= {name: 0.3 * torch.randn(*shape) for name, shape in head.items()}
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def main(folder: str, tokenizer: str) -> None:
    from transformers import AutoTokenizer

    known = AutoTokenizer.from_pretrained(tokenizer)
    known.add_special_tokens({"additional_special_tokens": [STEP_END]})
    for name, (architecture, classes, head) in MODELS.items():
        write(Path(folder, name), known, architecture, classes, head)
    print(known.convert_tokens_to_ids(STEP_END))


if __name__ == "__main__":
    main(*sys.argv[1:])
