"""The model, and training it: `transformers`' Llama, AdamW, a learning rate that falls to nothing at the end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.tiny_model import attention
from benchmarks.tiny_model.batches import IGNORED, Rows, loader
from benchmarks.tiny_model.chat import END, END_OF_TEXT
from benchmarks.tiny_model.vocabulary import SIZE

LENGTH = 2048  # tokens, of a training row and of the model's context
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Plan(NamedTuple):
    """How long, how much at once, how fast. Whichever of `tokens` and `limit_s` comes first ends it, with the learning
    rate at nothing; `warmup` is a share of that."""

    tokens: float
    limit_s: float
    rows: int = 64
    rate: float = 3e-3
    warmup: float = 0.02
    workers: int = 14


def config(tokenizer: Tokenizer, hidden: int = 256, layers: int = 6) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=SIZE,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 128),
        intermediate_size=hidden * 11 // 4,
        max_position_embeddings=LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id(END),
        pad_token_id=tokenizer.token_to_id(END_OF_TEXT),
        attn_implementation="sdpa",
    )


def train(model: LlamaForCausalLM, rows: Rows, plan: Plan, said: Callable[[str], None]) -> float:
    """Train in place; the mean loss of the last tenth of the steps."""
    model.to(DEVICE).train()
    model.set_attn_implementation(attention.NAME)
    step_of = torch.compile(model) if DEVICE == "cuda" else model
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=plan.rate,
        betas=(0.9, 0.95),
        fused=DEVICE == "cuda",
    )
    losses: list[torch.Tensor] = []
    seen, began, last = 0, time.monotonic(), 0.0
    for batch in loader(rows, plan.workers):
        now = time.monotonic()
        if len(losses) == 1:
            began = now  # the first step compiles
        done = max(seen / plan.tokens, (now - began) / plan.limit_s)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * min(1.0, done / plan.warmup + 1e-3, (1 - done) / (1 - plan.warmup))
        inputs, labels, starts = (part.to(DEVICE, non_blocking=True) for part in batch)
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = step_of(input_ids=inputs, use_cache=False, starts=starts, longest=LENGTH).logits
        loss = functional.cross_entropy(logits.float().view(-1, SIZE), labels.view(-1), ignore_index=IGNORED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
        seen += inputs.numel()
        if now - last > 10 or len(losses) == 1:
            last = now
            said(
                f"{seen / 1e6:.0f} M tokens, {seen / (now - began + 1e-9) / 1e3:.0f} k/s, loss {mean(losses[-50:]):.4f}"
            )
    return mean(losses[-max(1, len(losses) // 10) :])


def mean(losses: Sequence[torch.Tensor]) -> float:
    value = float(torch.stack(list(losses)).mean())
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss is {value}")
    return value


def save(model: LlamaForCausalLM, folder: Path) -> None:
    """In half precision, which is what a checkpoint of this size needs, and a quarter of float32's bytes to carry."""
    model.to(torch.float16).save_pretrained(folder)


def restore(folder: Path) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
