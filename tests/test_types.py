"""Values and errors cross processes and journals unchanged."""

import importlib
import pickle
import pkgutil
import re
import subprocess
import sys
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

import tts
from tts import errors
from tts.budget import Limits
from tts.errors import InvalidParameter, TTSError, UnknownName, unknown_name
from tts.journal import Record, decode, encode
from tts.types import Cost, ErrorInfo, Message, Problem, Sampling, Score, StrategySpec, Usage, Value, as_prompt

FACTS: dict[str, Any] = {"asked": 3, "left": 0.5, "known": ["a", "b"], "status": None, "cause": {"type": "X"}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
POSITIVE = st.none() | st.integers(1, 10**19)
RULED: dict[type, st.SearchStrategy[Any]] = {  # those that check what they are given
    Sampling: st.builds(
        Sampling,
        temperature=st.floats(0, 2),
        top_p=st.floats(0.01, 1),
        top_k=st.integers(0, 99),
        min_p=st.floats(0, 0.99),
        max_tokens=st.integers(1, 99999),
        stop=st.lists(st.text(max_size=3), max_size=4).map(tuple),
        top_logprobs=st.integers(0, 20),
    ),
    Limits: st.builds(
        Limits, samples=POSITIVE, tokens=POSITIVE, usd=POSITIVE.map(_float), flops=POSITIVE, seconds=POSITIVE.map(_float)
    ),
}
