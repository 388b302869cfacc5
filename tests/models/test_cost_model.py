import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts.core.actions import Call, Generate, Request, Sleep, Verify, prompt_bound
from tts.models.cost_model import CostModel, ModelCost
from tts.models.flops import ModelConfig, flops
from tts.models.prices import Price
from tts.types import Candidate, Completion, Cost, Message, Problem, Sampling, Usage

SMOL = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
}


def config(hf):
    found = ModelConfig.from_hf(hf)
    assert found is not None
    return found


PROBLEM = Problem("p1", "What is 6 times 7?")
ASK = Request(PROBLEM.messages, Sampling(max_tokens=100), model="priced")
KNOWN = CostModel(
    {"priced": ModelCost(Price.per_million(input=1, output=2), config(SMOL)), "bare": ModelCost()}, first="priced"
)


def verify(request):
    return Verify("p1/1", "v", PROBLEM, Candidate("p1/0", "42", "42", Completion("42")), request)


def test_the_worst_case_of_a_request_is_its_bound_on_the_prompt_and_all_of_max_tokens():
    bound = prompt_bound(ASK)
    assert bound == len(PROBLEM.prompt) + 8 + 256
    expected = Cost(1, 100, bound * 1_000_000 + 100 * 2_000_000, flops(config(SMOL), Usage(bound, 100)))
    assert KNOWN.upper_bound(Generate("p1/0", ASK)) == expected
    assert KNOWN.upper_bound(verify(ASK)) == expected


def test_the_worst_case_takes_the_dearer_rate():
    model = CostModel({"m": ModelCost(Price(input=1, output=2, cached_input=3, reasoning=5))}, first="m")
    request = Request(PROBLEM.messages, Sampling(max_tokens=10))
    assert model.upper_bound(Generate("p1/0", request)).picodollars == 3 * prompt_bound(request) + 5 * 10


def test_a_request_that_names_no_model_goes_to_the_first():
    unnamed = Request(PROBLEM.messages, Sampling(max_tokens=100))
    assert KNOWN.upper_bound(Generate("p1/0", unnamed)) == KNOWN.upper_bound(Generate("p1/0", ASK))


@pytest.mark.parametrize("name", ["bare", "never heard of"])
def test_what_nobody_knows_is_none_and_not_zero(name):
    request = Request(PROBLEM.messages, Sampling(max_tokens=100), model=name)
    assert KNOWN.upper_bound(Generate("p1/0", request)) == Cost(1, 100, None, None)
    assert KNOWN.actual(Generate("p1/0", request), Usage(10, 20)) == Cost(1, 20, None, None)


@pytest.mark.parametrize("action", [verify(None), Call("p1/1", "m:f", (), 1.0), Sleep("p1/1", 3.0)])
def test_what_asks_no_model_costs_nothing(action):
    assert KNOWN.upper_bound(action) == KNOWN.actual(action, Usage()) == Cost()


def test_the_prompt_bound_counts_bytes_every_message_and_the_prefill():
    short = Request((Message("user", "é"),))
    assert prompt_bound(short) == 2 + 8 + 256
    long = Request((Message("system", "ab"), Message("user", "é")), continue_from="so \ud800")
    assert prompt_bound(long) == 2 + 2 + 6 + 3 * 8 + 256


rates = st.integers(0, 10**9)


@given(
    st.builds(Price, rates, rates, st.none() | rates, st.none() | rates),
    st.text(max_size=50),
    st.integers(1, 5000),
    st.data(),
)
def test_the_actual_cost_never_exceeds_the_worst_case(price, text, max_tokens, data):
    sliding = SMOL | {"sliding_window": 24, "layer_types": ["sliding_attention"] * 20 + ["full_attention"] * 10}
    request = Request((Message("user", text),), Sampling(max_tokens=max_tokens))
    prompt = data.draw(st.integers(0, prompt_bound(request)))
    generated = data.draw(st.integers(0, max_tokens))
    usage = Usage(prompt, generated, data.draw(st.integers(0, 2 * prompt)), data.draw(st.integers(0, 2 * generated)))
    for hf in (SMOL, sliding):
        model = CostModel({"m": ModelCost(price, config(hf))}, first="m")
        upper_bound = model.upper_bound(Generate("p1/0", request))
        actual = model.actual(Generate("p1/0", request), usage)
        assert 0 <= actual.tokens <= upper_bound.tokens
        assert 0 <= actual.picodollars <= upper_bound.picodollars
        assert 0 <= actual.flops <= upper_bound.flops
        assert actual.samples == upper_bound.samples == 1
