import ast
from itertools import product
from pathlib import Path

import pytest

from tts.errors import InvalidParameter
from tts.models.flops import ModelConfig, flops, kinetics_eflops
from tts.types import Usage

SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
)


def dense(kind, *sizes, **more):
    return {"model_type": kind, **dict(zip(SIZES, sizes, strict=True)), **more}


SMOL = dense("llama", 576, 30, 9, 3, 1536, 49152)
LLAMA_8B = dense("llama", 4096, 32, 32, 8, 14336, 128256)
QWEN_06B = dense("qwen3", 1024, 28, 16, 8, 3072, 151936, head_dim=128)
QWEN_14B = dense("qwen3", 5120, 40, 40, 8, 17408, 151936, head_dim=128)
MIXTRAL = dense("mixtral", 4096, 32, 32, 8, 14336, 32000, num_local_experts=8, num_experts_per_tok=2)
QWEN_30B_A3B = dense(
    "qwen3_moe", 2048, 48, 32, 4, 6144, 151936, head_dim=128, moe_intermediate_size=768, num_experts=128,
    num_experts_per_tok=8, decoder_sparse_step=1, mlp_only_layers=[],
)  # fmt: skip
DEEPSEEK_V3 = dense(
    "deepseek_v3", 7168, 61, 128, 128, 18432, 129280, q_lora_rank=1536, kv_lora_rank=512, qk_nope_head_dim=128,
    qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256, num_experts_per_tok=8, n_shared_experts=1,
    moe_intermediate_size=2048, first_k_dense_replace=3, moe_layer_freq=1,
)  # fmt: skip


def config(hf):
    found = ModelConfig.from_hf(hf)
    assert found is not None
    return found


# Published parameter counts, less the norms (and the input embedding, where it is a table of its own).
@pytest.mark.parametrize(
    ("hf", "published", "norms", "embedding"),
    [
        (SMOL, 134_515_008, 61 * 576, 0),
        (LLAMA_8B, 8_030_261_248, 65 * 4096, 128256 * 4096),
        (QWEN_06B, 596_049_920, 57 * 1024 + 28 * 2 * 128, 0),
        (QWEN_14B, 14_768_307_200, 81 * 5120 + 40 * 2 * 128, 151936 * 5120),
        (MIXTRAL | {"num_experts_per_tok": 8}, 46_702_792_704, 65 * 4096, 32000 * 4096),
        (QWEN_30B_A3B | {"num_experts_per_tok": 128}, 30_532_122_624, 97 * 2048 + 48 * 2 * 128, 151936 * 2048),
    ],
)
def test_weights_that_multiply_a_token_agree_with_published_parameter_counts(hf, published, norms, embedding):
    assert config(hf).active_parameters == published - norms - embedding


@pytest.mark.parametrize(
    ("hf", "total", "active"), [(MIXTRAL, 46.7e9, 12.9e9), (QWEN_30B_A3B, 30.5e9, 3.3e9), (DEEPSEEK_V3, 671e9, 37e9)]
)
def test_a_mixture_is_charged_for_the_experts_that_it_routes_to(hf, total, active):
    everything = hf | {"num_experts_per_tok": hf.get("num_local_experts", hf.get("num_experts", 256))}
    embedding = hf["vocab_size"] * hf["hidden_size"]
    assert config(everything).active_parameters + embedding == pytest.approx(total, rel=0.002)
    assert config(hf).active_parameters == pytest.approx(active, rel=0.1)
    assert config(hf).active_parameters < total / 3


def test_latent_attention_caches_its_latent_and_rotary_part_only():
    assert config(DEEPSEEK_V3).kv_elements == 512 + 64
    assert config(LLAMA_8B).kv_elements == 2 * 8 * 128


def test_a_multimodal_config_is_read_in_its_text_part():
    assert config({"model_type": "some_vl", "vision_config": {}, "text_config": QWEN_06B}) == config(QWEN_06B)


@pytest.mark.parametrize(
    "hf",
    [
        {},
        LLAMA_8B | {"model_type": "mamba2"},
        {k: v for k, v in LLAMA_8B.items() if k != "intermediate_size"},
        LLAMA_8B | {"layer_types": ["full_attention", "linear_attention"] * 16},
        LLAMA_8B | {"model_type": "gemma2", "sliding_window": 4096},
    ],
)
def test_an_architecture_that_is_not_understood_has_no_flops(hf):
    assert ModelConfig.from_hf(hf) is None
    assert flops(None, Usage(10, 10)) is None
    assert kinetics_eflops(None, 10, [10]) is None


@pytest.mark.parametrize("value", [0, -1, "4096", 1.5, True])
def test_a_size_that_is_not_a_positive_integer_is_named(value):
    with pytest.raises(InvalidParameter, match="hidden_size"):
        ModelConfig.from_hf(LLAMA_8B | {"hidden_size": value})


def one_by_one(hf, cached, prompt, generated, windows):
    """FLOPs token by token, layer by layer."""
    c, total = config(hf), 0
    for position in range(cached + 1, prompt + generated + 1):
        total += 2 * c.active_parameters
        for window in windows:
            attended = min(position, window or position)
            total += 4 * hf["num_attention_heads"] * c.qk_dim * attended
    return total


def test_flops_equal_a_count_of_every_token_in_every_layer():
    usage = Usage(prompt_tokens=37, completion_tokens=11, cached_tokens=16)
    assert flops(config(SMOL), usage) == one_by_one(SMOL, 16, 37, 11, [None] * 30)


@pytest.mark.parametrize("cached", [0, 5, 30])
def test_layers_with_a_sliding_window_attend_to_no_more_than_it(cached):
    hf = SMOL | {"sliding_window": 24, "layer_types": ["sliding_attention"] * 20 + ["full_attention"] * 10}
    usage = Usage(prompt_tokens=37, completion_tokens=11, cached_tokens=cached)
    assert flops(config(hf), usage) == one_by_one(hf, cached, 37, 11, [24] * 20 + [None] * 10)


def test_a_window_that_is_switched_off_does_not_count():
    qwen = QWEN_06B | {"sliding_window": 4096, "max_window_layers": 20}
    assert config(qwen | {"use_sliding_window": False}).sliding_layers == 0
    assert config(qwen | {"use_sliding_window": True}).sliding_layers == 8
    assert config(dense("mistral", 4096, 32, 32, 8, 14336, 32000, sliding_window=4096)).sliding_layers == 32


def test_cached_prompt_tokens_cost_no_prefill():
    c, p = config(LLAMA_8B), config(LLAMA_8B).active_parameters
    cold, warm = flops(c, Usage(1000, 1)), flops(c, Usage(1000, 1, cached_tokens=1000))
    assert cold - warm == 2 * p * 1000 + 2 * 32 * 32 * 128 * 1000 * 1001
    assert warm == 2 * p + 4 * 32 * 32 * 128 * 1001


# Kinetics' published P (in parameters) and the sizes of Qwen3, written out apart from any config of ours.
KINETICS = {"0.6B": (752_000_000, 28, 16, 8, 128), "14B": (14_770_000_000, 40, 40, 8, 128)}


def by_hand(model, prompt, generated, trials):
    """(compute, memory) of the paper's dense cost model, for trials of one length."""
    p, layers, heads, kv_heads, head = KINETICS[model]
    d = layers * head
    compute = (2 * p * generated + 2 * (2 * prompt + generated) * generated * heads * d) * trials
    memory = 2 * (2 * prompt + generated * trials) * generated * kv_heads * d * 1125 // 2
    return compute, memory


@pytest.mark.parametrize(("model", "trials", "generated"), [*product(KINETICS, (1, 4, 32), (2048, 32768))])
def test_kinetics_eflops_follow_the_papers_formula(model, trials, generated):
    hf = {"0.6B": QWEN_06B, "14B": QWEN_14B}[model]
    found = kinetics_eflops(config(hf), 200, [generated] * trials, parameters=KINETICS[model][0])
    assert found == sum(by_hand(model, 200, generated, trials))


def test_kinetics_example_in_figures():
    # Qwen3-0.6B, a prompt of 100, 16 trials of 2,048 tokens: 4.93e13 for the weights, 8.4e12 for attention, and
    # 2.18e15 for reading the cache, which is 97 % of it all.
    found = kinetics_eflops(config(QWEN_06B), 100, [2048] * 16, parameters=752_000_000)
    assert found == 49_283_072_000_000 + 8_448_200_671_232 + 2_177_875_574_784_000


def test_the_better_of_two_spendings_flips_between_flops_and_eflops():
    """Small model, 16 trials, or large model, 2: the first is cheaper in FLOPs, the second in eFLOPs."""
    options = {("0.6B", 16): (QWEN_06B, 16), ("14B", 2): (QWEN_14B, 2)}
    prompt, generated = 200, 16384
    one = {k: flops(config(hf), Usage(prompt, generated)) * n for k, (hf, n) in options.items()}
    other = {k: kinetics_eflops(config(hf), prompt, [generated] * n) for k, (hf, n) in options.items()}
    assert min(one, key=one.get) == ("0.6B", 16)
    assert min(other, key=other.get) == ("14B", 2)


def test_trials_of_unequal_length_share_the_prompt_for_as_long_as_the_longest_runs():
    c, prompt = config(QWEN_06B), 500
    lengths = [100, 300, 700]
    expected = 0.0
    for step in range(1, max(lengths) + 1):  # the whole batch decodes one token; contexts at the middle of the step
        alive = [g for g in lengths if g >= step]
        context = step - 0.5
        expected += len(alive) * (2 * c.active_parameters + 4 * 16 * 128 * 28 * (prompt + context))
        expected += 562.5 * 2 * c.kv_elements * 28 * (prompt + len(alive) * context)
    assert kinetics_eflops(c, prompt, lengths) == pytest.approx(expected, rel=1e-12)
    assert kinetics_eflops(c, prompt, []) == 0


def test_the_sizes_that_the_cost_benchmark_states_are_those_of_the_published_parameter_counts():
    """In thousands of millions, the embedding counted once: 4.02 (tied) and 14.77 (a table of its own)."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "models" / "cost_models.py"
    (sizes,) = (
        node.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SIZES"
    )
    small, large = ast.literal_eval(sizes).values()
    assert round(config(small).active_parameters / 1e9, 2) == 4.02
    assert round((config(large).active_parameters + large["hidden_size"] * large["vocab_size"]) / 1e9, 2) == 14.77


def test_kinetics_has_no_formula_for_sliding_windows():
    assert kinetics_eflops(config(dense("mistral", 64, 2, 4, 2, 128, 100, sliding_window=8)), 10, [10]) is None
