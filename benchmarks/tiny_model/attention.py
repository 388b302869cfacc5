"""Attention within each lesson of a row: a row holds several, and none sees another.

On a GPU it is flash attention of sequences of unequal lengths, which costs what the lessons' own lengths cost, not the
row's. Elsewhere a mask says the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

NAME = "within_lessons"


def within_lessons(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    starts: Tensor,
    longest: int,
    **ignored: Any,
) -> tuple[Tensor, None]:
    """Causal attention, as `transformers` calls it.

    Args:
        query, key, value: `(rows, heads, length, size)`; fewer heads of keys and values.
        starts: of the lessons in all rows laid end to end, int32, the end of the last one, and that again as filling.
        longest: tokens of the longest lesson, at most.

    Returns: `(rows, length, heads, size)`.
    """
    rows, heads, length, size = query.shape
    if not query.is_cuda:
        mask = _mask(starts, rows, length)
        out = functional.scaled_dot_product_attention(
            query, key.to(query.dtype), value.to(query.dtype), mask, scale=scaling, enable_gqa=True
        )
        return out.transpose(1, 2), None
    q, k, v = (part.transpose(1, 2).reshape(rows * length, -1, size).bfloat16() for part in (query, key, value))
    out = torch.ops.aten._flash_attention_forward(  # as torch.nested does; torch.nn.attention.varlen is still moving
        q, k, v, starts, starts, longest, longest, 0.0, True, False, scale=scaling
    )[0]
    return out.view(rows, length, heads, size), None


def _mask(starts: Tensor, rows: int, length: int) -> Tensor:
    lessons = torch.bucketize(torch.arange(rows * length), starts.long(), right=True).view(rows, 1, length)
    same = lessons.unsqueeze(-1) == lessons.unsqueeze(-2)
    return same & torch.ones(length, length, dtype=torch.bool).tril()


AttentionInterface.register(NAME, within_lessons)
