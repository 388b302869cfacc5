"""Continuous batching of the small model in torch: hundreds of replies advance together, and each joins when it comes.

Every reply has a slot of the cache. A round reads the prompts that are waiting and draws the next token of every open
reply. Weights, cache and sums are single precision, so that greedy texts are those of the other engines (engines.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb

_READ = 32_768  # tokens of prompts read at once, padding included
_SPREAD = 64  # lengths of a batch are rounded up to a multiple: few shapes
_ODD = (0x9E3779B9, 0x85EBCA6B, 0xC2B2AE35)  # multipliers of MurmurHash3's finaliser


@dataclass
class Reply:
    """One reply that is being written.

    Args:
        prompt: tokens. most: of the reply. top: alternatives whose log-probabilities are wanted.
        drawn: is told each token, its log-probability and the alternatives; whether the reply goes on.
    """

    prompt: list[int]
    most: int
    temperature: float
    seed: int
    top: int
    drawn: Callable[[int, float, list[tuple[int, float]]], bool]
    slot: int = -1
    tokens: list[int] = field(default_factory=list)


class Batch:
    """The open replies of one model.

    Args: slots: replies that advance together. room: tokens of a prompt and its reply.
    """

    def __init__(self, model: LlamaForCausalLM, slots: int, room: int) -> None:
        self._model, self.room = model, room
        config, device = model.config, model.device
        shape = (config.num_hidden_layers, 2, slots + 1, config.num_key_value_heads, room, config.head_dim)
        self._cache = torch.zeros(shape, device=device)  # the last slot is nobody's
        self._free = list(range(slots))
        self._open: list[Reply] = []

    @property
    def free(self) -> int:
        """The number of free slots."""
        return len(self._free)

    @property
    def open(self) -> int:
        """The number of replies that are being written."""
        return len(self._open)

    @torch.inference_mode()
    def advance(self, new: Sequence[Reply]) -> None:
        """One token for each open reply: of `new`, which have slots, the first one."""
        for reply in new:
            reply.slot = self._free.pop()
        going = [reply for part in _of_like_length(new) for reply in self._drawn(part, first=True)]
        going += self._drawn(self._open, first=False)
        still = {id(reply) for reply in going}
        self._free += [reply.slot for reply in (*self._open, *new) if id(reply) not in still]
        self._open = going

    def _drawn(self, replies: Sequence[Reply], first: bool) -> list[Reply]:
        """Those that go on after their next token."""
        if not replies:
            return []
        device = self._model.device
        said = [reply.prompt if first else reply.tokens[-1:] for reply in replies]
        width = max(map(len, said))
        tokens = torch.tensor([[*one, *[0] * (width - len(one))] for one in said], device=device)
        sizes = torch.tensor([len(one) for one in said], device=device)
        starts = torch.tensor([0 if first else len(r.prompt) + len(r.tokens) - 1 for r in replies], device=device)
        slots = torch.tensor([reply.slot for reply in replies], device=device)
        logits = self._forward(tokens, starts, sizes, slots)
        seeds = torch.tensor([[r.seed & 0xFFFFFFFF, len(r.tokens)] for r in replies], device=device)
        heat = torch.tensor([reply.temperature for reply in replies], device=device)
        picked = (logits + heat[:, None] * _gumbel(seeds, logits.shape[1])).argmax(-1)
        chances = functional.log_softmax(logits, -1)
        own = chances.gather(1, picked[:, None]).squeeze(1).tolist()
        most = max(reply.top for reply in replies)
        values, places = (part.tolist() for part in chances.topk(most)) if most else ([], [])
        going = []
        for row, (reply, token) in enumerate(zip(replies, picked.tolist(), strict=True)):
            reply.tokens.append(token)
            others = list(zip(places[row], values[row], strict=True))[: reply.top] if reply.top else []
            if reply.drawn(token, own[row], others):
                going.append(reply)
        return going

    def _forward(self, tokens: Tensor, starts: Tensor, sizes: Tensor, slots: Tensor) -> Tensor:
        """Logits `(rows, vocabulary)` after the last of each row's `sizes` tokens, which begin at place `starts`."""
        body = self._model.model
        within = torch.arange(tokens.shape[1], device=tokens.device)
        places = starts[:, None] + within
        seen = min(self.room, _rounded(int(places.max()) + 1))
        rows = torch.where(within < sizes[:, None], slots[:, None], len(self._cache[0, 0]) - 1)  # filling: nobody's
        hidden = body.embed_tokens(tokens)
        turned = body.rotary_emb(hidden, places)
        mask = torch.arange(seen, device=tokens.device) <= places[:, :, None]
        kept = places.clamp(max=self.room - 1)
        for layer, cache in zip(body.layers, self._cache, strict=True):
            hidden = hidden + _attended(
                layer, layer.input_layernorm(hidden), cache, (rows, kept), slots, turned, mask[:, None]
            )
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        last = hidden[torch.arange(len(hidden), device=hidden.device), sizes - 1]
        logits: Tensor = self._model.lm_head(body.norm(last))
        return logits.float()


def _attended(
    layer: LlamaDecoderLayer,
    hidden: Tensor,
    cache: Tensor,
    into: tuple[Tensor, Tensor],
    slots: Tensor,
    turned: tuple[Tensor, Tensor],
    mask: Tensor,
) -> Tensor:
    rows, length, _ = hidden.shape
    attention = layer.self_attn
    query, key, value = (
        project(hidden).view(rows, length, -1, attention.head_dim)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query, key = apply_rotary_pos_emb(query, key, *turned, unsqueeze_dim=2)
    cache[0].transpose(1, 2)[into], cache[1].transpose(1, 2)[into] = key, value
    keys, values = cache[:, slots, :, : mask.shape[-1]]
    out = functional.scaled_dot_product_attention(
        query.transpose(1, 2), keys, values, mask, scale=attention.scaling, enable_gqa=True
    )
    return attention.o_proj(out.transpose(1, 2).reshape(rows, length, -1))


def _of_like_length(replies: Sequence[Reply]) -> Iterator[list[Reply]]:
    part: list[Reply] = []
    for reply in sorted(replies, key=lambda reply: len(reply.prompt)):
        if part and len(reply.prompt) * (len(part) + 1) > _READ:
            yield part
            part = []
        part.append(reply)
    yield part


def _rounded(tokens: int) -> int:
    return -(-tokens // _SPREAD) * _SPREAD


def _gumbel(seeds: Tensor, words: int) -> Tensor:
    """Noise `(rows, words)` by each row's seed and place: what a seed draws does not depend on who is drawn beside it.
    Adding it to logits samples from their softmax."""
    state = torch.arange(words, device=seeds.device)[None] * _ODD[0] ^ seeds[:, :1] * _ODD[1] ^ seeds[:, 1:] * _ODD[2]
    state = state & 0xFFFFFFFF
    for shift, odd in ((16, _ODD[1]), (13, _ODD[2])):
        state = ((state ^ (state >> shift)) * odd) & 0xFFFFFFFF
    uniform = ((state ^ (state >> 16)).double() + 0.5) / 2**32
    return -torch.log(-torch.log(uniform)).float()
