"""The cost of tokens in FLOPs and in Kinetics' eFLOPs, from the sizes in a model's `config.json`. Pure, and on
integers.

FLOPs count 2 per weight and token, and for attention 2·H·(d_qk + d_v) per layer and attended position (that is 4·H·d_h;
QK^T and AV), each token attending to its own position and all before it. A multiply-add is 2 FLOPs. An unknown number
is None, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tts.errors import InvalidParameter
from tts.types import Usage, Value

# Kinetics' FLOPs per byte of KV cache read, 562.5, kept as a fraction so that the count stays an integer.
_EFLOPS_PER_BYTE = (1125, 2)
_GATED_DENSE = frozenset(
    ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "smollm3", "olmo2", "granite"]
)
_EXPERTS = {  # model_type -> (key of the number of experts, key of one expert's width)
    "mixtral": ("num_local_experts", "intermediate_size"),
    "gpt_oss": ("num_local_experts", "intermediate_size"),
    "olmoe": ("num_experts", "intermediate_size"),
    "qwen2_moe": ("num_experts", "moe_intermediate_size"),
    "qwen3_moe": ("num_experts", "moe_intermediate_size"),
    "deepseek_v2": ("n_routed_experts", "moe_intermediate_size"),
    "deepseek_v3": ("n_routed_experts", "moe_intermediate_size"),
    "kimi_k2": ("n_routed_experts", "moe_intermediate_size"),
}
_LATENT_ATTENTION = frozenset({"deepseek_v2", "deepseek_v3", "kimi_k2"})
_SLIDES_EVERYWHERE = frozenset({"mistral", "mixtral", "phi3"})
_SLIDES_IF_TOLD = frozenset({"qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "smollm3"})


class ModelConfig(Value, frozen=True):
    """The numbers of a transformer that its FLOPs depend on.

    Args:
        architecture: Hugging Face's `model_type`.
        active_parameters: weights that multiply one token: projections, the experts it is routed to, routers and the
            unembedding. The embedding look-up, norms and biases are left out.
        layers: attention layers.
        heads: query heads.
        qk_dim, v_dim: size of one head's query and key, and of its value.
        kv_elements: KV-cache elements per token and layer: 2·kv_heads·head_dim, or MLA's latent and rotary part.
        sliding_layers, sliding_window: number of layers that attend to at most so many positions.
    """

    architecture: str
    active_parameters: int
    layers: int
    heads: int
    qk_dim: int
    v_dim: int
    kv_elements: int
    sliding_layers: int = 0
    sliding_window: int = 0

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> ModelConfig | None:
        """Read a Hugging Face `config.json`; a multimodal one is read in its `text_config`.

        None for an architecture that this module does not know (a wrong guess would look like a measurement), or if a
        field it needs is missing. MLA is counted un-absorbed, as published; engines that absorb the projections do
        more FLOPs for less memory traffic.

        Raises:
            InvalidParameter: a size is not a positive integer.
        """
        nested = config.get("text_config")
        config = nested if isinstance(nested, Mapping) else config
        kind = config.get("model_type")
        if kind not in _GATED_DENSE and kind not in _EXPERTS:
            return None
        try:
            hidden, layers = _size(config, "hidden_size"), _size(config, "num_hidden_layers")
            heads = _size(config, "num_attention_heads")
            attention, qk, v, kv = _attention(config, hidden, heads)
            sliding, window = _sliding(config, layers)
            active = layers * attention + _feed_forward(config, hidden, layers) + hidden * _size(config, "vocab_size")
        except KeyError:
            return None
        return cls(str(kind), active, layers, heads, qk, v, kv, sliding, window)


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if value is None:
        raise KeyError(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidParameter(
            f"{key} in the model's config must be a positive integer, but got {value!r}", name=key, value=repr(value)
        )
    return value


def _attention(config: Mapping[str, Any], hidden: int, heads: int) -> tuple[int, int, int, int]:
    """Weights of one layer's attention; query/key and value size of one head; cached elements per token."""
    if config["model_type"] in _LATENT_ATTENTION:
        latent, rope = _size(config, "kv_lora_rank"), _size(config, "qk_rope_head_dim")
        nope, v = _size(config, "qk_nope_head_dim"), _size(config, "v_head_dim")
        rank = config.get("q_lora_rank")
        wide = heads * (nope + rope)
        query = hidden * wide if rank is None else _size(config, "q_lora_rank") * (hidden + wide)
        weights = query + hidden * (latent + rope) + latent * heads * (nope + v) + heads * v * hidden
        return weights, nope + rope, v, latent + rope
    head_dim = _size(config, "head_dim") if config.get("head_dim") is not None else hidden // heads
    kv_heads = _size(config, "num_key_value_heads") if config.get("num_key_value_heads") is not None else heads
    return 2 * hidden * head_dim * (heads + kv_heads), head_dim, head_dim, 2 * kv_heads * head_dim


def _feed_forward(config: Mapping[str, Any], hidden: int, layers: int) -> int:
    """Weights that multiply one token in all gated feed-forward layers (3 matrices each), routers included."""
    keys = _EXPERTS.get(config["model_type"])
    if keys is None:
        return layers * 3 * hidden * _size(config, "intermediate_size")
    experts, width = _size(config, keys[0]), _size(config, keys[1])
    shared = (config.get("n_shared_experts") or 0) * width
    shared_gate = 0
    if config.get("shared_expert_intermediate_size"):
        shared, shared_gate = _size(config, "shared_expert_intermediate_size"), hidden
    first, step = config.get("first_k_dense_replace") or 0, config.get("decoder_sparse_step") or 1
    frequency, dense_only = config.get("moe_layer_freq") or 1, set(config.get("mlp_only_layers") or ())
    sparse = sum(
        i >= first and i % frequency == 0 and (i + 1) % step == 0 and i not in dense_only for i in range(layers)
    )
    routed = _size(config, "num_experts_per_tok") * width
    total = sparse * (3 * hidden * (routed + shared) + hidden * experts + shared_gate)
    if sparse < layers:
        total += (layers - sparse) * 3 * hidden * _size(config, "intermediate_size")
    return total


def _sliding(config: Mapping[str, Any], layers: int) -> tuple[int, int]:
    """The number of layers that attend to a window, and its size. Raises: KeyError if the config lacks them."""
    kind, kinds = config["model_type"], config.get("layer_types")
    if kinds is not None and set(kinds) - {"full_attention", "sliding_attention"}:
        raise KeyError("layer_types")
    if not config.get("sliding_window") or (kind in _SLIDES_IF_TOLD and not config.get("use_sliding_window")):
        return 0, 0
    window = _size(config, "sliding_window")
    if kinds is not None:
        return list(kinds).count("sliding_attention"), window
    if kind in _SLIDES_EVERYWHERE:
        return layers, window
    if kind in _SLIDES_IF_TOLD:
        return max(0, layers - _size(config, "max_window_layers")), window
    return layers - layers // _size(config, "sliding_window_pattern"), window


def flops(config: ModelConfig | None, usage: Usage) -> int | None:
    """FLOPs of one request: every prompt token that was not cached, and every generated one. None without a config.

    A token at position j costs 2·P + 2·H·(d_qk + d_v)·j per layer, so a prompt of T costs 2·P·T + 2·L·H·d_h·T·(T+1).
    The unembedding is charged for prompt tokens too, as 2·P·T does; engines skip it for all but the last.
    """
    if config is None:
        return None
    start = min(usage.cached_tokens, usage.prompt_tokens)
    end = usage.prompt_tokens + usage.completion_tokens
    full = (config.layers - config.sliding_layers) * _attended(start, end, end)
    sliding = config.sliding_layers * _attended(start, end, config.sliding_window)
    pairs = 2 * config.heads * (config.qk_dim + config.v_dim) * (full + sliding)
    return 2 * config.active_parameters * (end - start) + pairs


def _attended(start: int, end: int, window: int) -> int:
    """Sum of min(j, window) over positions j from start + 1 to end."""
    low, high = min(start, window), min(end, window)
    return (high * (high + 1) - low * (low + 1)) // 2 + window * (max(end, window) - max(start, window))


def kinetics_eflops(
    config: ModelConfig | None,
    prompt_tokens: int,
    generated_tokens_per_trial: Sequence[int],
    *,
    parameters: int | None = None,
) -> int | None:
    """eFLOPs of N trials on one prompt: compute, plus 562.5 FLOPs for every byte of KV cache read (2 bytes an element).

    Sadhukhan et al. 2025, "Kinetics", arXiv:2506.05333, dense attention, as in its cost-model code: reading the
    parameters is not counted (batches are large), nor is prefill; the prompt's KV is read once per step for all trials.
    Differences from the paper: trials may differ in length; the prompt's KV is then read for as many steps as the
    longest takes, which is the paper's formula when all are equal.

    Args:
        parameters: P to use in place of `config.active_parameters`. The paper's own constants count the embedding table
            twice for some sizes (0.6B, 1.7B) and once for others (4B).

    Returns:
        eFLOPs, rounded up; None without a config, or where layers slide a window (the formula has none).
    """
    if config is None or config.sliding_layers:
        return None
    c, lengths = prompt_tokens, generated_tokens_per_trial
    p = config.active_parameters if parameters is None else parameters
    squares = sum(g * g for g in lengths)
    attended = 2 * c * sum(lengths) + squares  # twice the sum of contexts over all decode steps
    compute = 2 * p * sum(lengths) + config.heads * (config.qk_dim + config.v_dim) * config.layers * attended
    kv_bytes = config.kv_elements * config.layers * (2 * c * max(lengths, default=0) + squares)
    numerator, denominator = _EFLOPS_PER_BYTE
    return compute - (-kv_bytes * numerator // denominator)
