"""Many replies at once from a model that is being trained: prompts are read once for all their replies, keys and values
have a place of their own from the start, and rows that have ended make room."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb

_FEW = 0.75  # of the rows still open: the ended ones are dropped
_READ = 256  # prompts read at once


class Decoder:
    """Args:
    model: in evaluation mode.
    end, pad: tokens.
    """

    def __init__(self, model: LlamaForCausalLM, end: int, pad: int) -> None:
        self._model, self._end, self._pad = model, end, pad

    @torch.inference_mode()
    def replies(self, prompts: Sequence[list[int]], each: int, most: int, temperature: float) -> list[list[int]]:
        """`each` replies to each prompt, of at most `most` tokens, one prompt's after another's; temperature 0 takes
        the likeliest token."""
        device = self._model.device
        width = max(map(len, prompts))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            cache, starts, logits = self._read(prompts, width, width + most)
            rows = torch.arange(len(prompts), device=device).repeat_interleave(each)
            cache, starts, logits = cache[:, :, rows], starts[rows], logits[rows]
            out = torch.full((len(rows), most), self._pad, device=device)
            rows = torch.arange(len(rows), device=device)  # of `out`, those that are open
            for step in range(most):
                tokens = _drawn(logits, temperature)
                out[rows, step] = tokens
                going = tokens != self._end
                left = int(going.sum())
                if not left:
                    break
                if left < _FEW * len(rows):
                    cache, starts, rows, tokens = cache[:, :, going], starts[going], rows[going], tokens[going]
                logits = self._step(tokens, cache, starts, width + step)
        found = out.tolist()
        return [row[: row.index(self._end)] if self._end in row else row for row in found]

    def _read(self, prompts: Sequence[list[int]], width: int, room: int) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values `(layers, 2, rows, heads, room, size)`, where each row begins, and the logits at its end."""
        config, device = self._model.config, self._model.device
        heads = config.num_key_value_heads
        shape = (config.num_hidden_layers, 2, len(prompts), heads, room, config.head_dim)
        cache = torch.empty(shape, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32, device=device)
        padded = torch.tensor([[self._pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
        starts = torch.tensor([width - len(prompt) for prompt in prompts], device=device)
        causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        logits = []
        for low in range(0, len(prompts), _READ):
            part = slice(low, low + _READ)
            seen = torch.arange(width, device=device) >= starts[part, None]  # a place before the start sees itself
            mask = (causal & seen[:, None]) | torch.eye(width, dtype=torch.bool, device=device)
            logits.append(self._forward(padded[part], cache[:, :, part], 0, mask[:, None]))
        return cache, starts, torch.cat(logits)

    def _step(self, tokens: Tensor, cache: Tensor, starts: Tensor, place: int) -> Tensor:
        seen = torch.arange(place + 1, device=tokens.device) >= starts[:, None]
        return self._forward(tokens[:, None], cache, place, seen[:, None, None])

    def _forward(self, tokens: Tensor, cache: Tensor, place: int, mask: Tensor) -> Tensor:
        """The logits after the last token; keys and values of the tokens go into the cache from `place` on."""
        body = self._model.model
        hidden = body.embed_tokens(tokens)
        places = torch.arange(place, place + tokens.shape[1], device=tokens.device)[None]
        turned = body.rotary_emb(hidden, places)
        for layer, kept in zip(body.layers, cache, strict=True):
            hidden = hidden + _attended(layer, layer.input_layernorm(hidden), kept, place, turned, mask)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return self._model.lm_head(body.norm(hidden[:, -1])).float()


def _attended(
    layer: LlamaDecoderLayer, hidden: Tensor, kept: Tensor, place: int, turned: tuple[Tensor, Tensor], mask: Tensor
) -> Tensor:
    """Heads that share keys and values are laid out as more queries of one head: nothing is copied for them."""
    rows, length, _ = hidden.shape
    attention = layer.self_attn
    query, key, value = (
        project(hidden).view(rows, length, -1, attention.head_dim).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query, key = apply_rotary_pos_emb(query, key, *turned)
    kept[0, :, :, place : place + length], kept[1, :, :, place : place + length] = key, value
    keys, values = kept[:, :, :, : place + length]
    heads, shared = query.shape[1], keys.shape[1]
    grouped = query.to(keys.dtype).reshape(rows, shared, heads // shared * length, -1)
    out = functional.scaled_dot_product_attention(
        grouped, keys, values, mask.repeat(1, 1, heads // shared, 1), scale=attention.scaling
    )
    return attention.o_proj(out.reshape(rows, heads, length, -1).transpose(1, 2).reshape(rows, length, -1))


def _drawn(logits: Tensor, temperature: float) -> Tensor:
    if not temperature:
        return logits.argmax(-1)
    return torch.multinomial(functional.softmax(logits / temperature, -1), 1).squeeze(-1)
