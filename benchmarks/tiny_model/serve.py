"""The small model behind OpenAI's chat API, in vLLM's dialect, many replies together: for benchmarks on a GPU.

    python -m benchmarks.tiny_model.serve [FILE.gguf] [--port 8000] [--slots 512]
    tts sweep --base-url http://127.0.0.1:8000/v1 --model tts-tiny ...

Loopback only. It knows texts, stop strings, seeds, temperatures, log-probabilities and text to continue, and refuses
other fields that would change a reply (top_p, tools, schemas). A client that leaves frees its slot.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Any

import torch
from aiohttp import web
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from benchmarks.tiny_model import export
from benchmarks.tiny_model.batching import Batch, Reply
from benchmarks.tiny_model.chat import END, START
from tts.models.weights import pull

CONTEXT = 2048
EVERY = 16  # tokens in a chunk of a stream
KNOWN = {
    "model", "messages", "stream", "stream_options", "max_tokens", "temperature", "seed", "stop", "logprobs",
    "top_logprobs", "continue_final_message", "add_generation_prompt", "n",
}  # fmt: skip


class Writing:
    """The text of one reply, as far as it is written; `news` has its new parts for the loop of the server."""

    def __init__(self, pieces: list[str], end: int, body: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        stop = body.get("stop") or []
        self.news: asyncio.Queue[tuple[str, list[dict[str, Any]], bool]] = asyncio.Queue()
        self.finish = ""  # `stop` or `length`, at the end
        self.stopped_by: str | None = None
        self.count = 0
        self.left = False  # whether nobody reads it any more
        self._pieces, self._end, self._loop = pieces, end, loop
        self._stops = [stop] if isinstance(stop, str) else stop
        self._most = body["max_tokens"]
        self._logged = bool(body.get("logprobs"))
        self._text, self._sent = "", 0
        self._chances: list[dict[str, Any]] = []

    def drawn(self, token: int, chance: float, others: list[tuple[int, float]]) -> bool:
        """Add a token; whether the reply goes on."""
        self.count += 1
        if token == self._end:
            self.finish = "stop"
        else:
            before = len(self._text)
            self._text += self._pieces[token]
            self._cut(before)
            if self._logged:
                told = [{"token": self._pieces[i] or END, "logprob": value} for i, value in others]
                self._chances.append({"token": self._pieces[token], "logprob": chance, "top_logprobs": told})
        if not self.finish and self.count >= self._most:
            self.finish = "length"
        if self.finish or self.count % EVERY == 0:
            self._tell()
        return not self.finish and not self.left

    def _cut(self, before: int) -> None:
        for stop in self._stops:
            place = self._text.find(stop, max(0, before - len(stop) + 1))
            if place >= 0:
                self._text, self.finish, self.stopped_by = self._text[:place], "stop", stop
                return

    def _tell(self) -> None:
        held = 0 if self.finish else max((len(stop) - 1 for stop in self._stops), default=0)
        ready = max(self._sent, len(self._text) - held)  # the rest may be the beginning of a stop string
        part, self._sent = self._text[self._sent : ready], ready
        chances, self._chances = self._chances, []
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.news.put_nowait, (part, chances, bool(self.finish)))


class Engine(threading.Thread):
    """The thread that decodes."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(daemon=True)
        self._batch, self._waiting, self._news = batch, deque[tuple[Reply, Writing]](), threading.Condition()

    def add(self, reply: Reply, writing: Writing) -> None:
        with self._news:
            self._waiting.append((reply, writing))
            self._news.notify()

    def run(self) -> None:
        while True:
            with self._news:
                while not self._waiting and not self._batch.open:
                    self._news.wait()
                taken = [self._waiting.popleft() for _ in range(min(self._batch.free, len(self._waiting)))]
            self._batch.advance([reply for reply, writing in taken if not writing.left])


class Server:
    def __init__(self, file: Path, slots: int, device: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            export.write_folder(file, Path(folder))
            model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().to(device)
            self._tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        self._end = self._tokenizer.token_to_id(END)
        self._pieces = [self._tokenizer.decode([i]) for i in range(self._tokenizer.get_vocab_size())]
        self._engine = Engine(Batch(model, slots, CONTEXT))
        self._engine.start()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_post("/v1/chat/completions", self._chat)
        return app

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": export.NAME, "object": "model", "owned_by": "vllm", "max_model_len": CONTEXT}
        return web.json_response({"object": "list", "data": [model]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        unknown = sorted(set(body) - KNOWN) + (["n"] if body.get("n", 1) != 1 else [])
        if unknown:
            return _refused(f"this server does not know {', '.join(unknown)}")
        prompt = self._tokenizer.encode(_text(body)).ids
        room = CONTEXT - len(prompt)
        if room < 1:
            return _refused(f"maximum context length is {CONTEXT} tokens, but the prompt has {len(prompt)}")
        body["max_tokens"] = min(body.get("max_tokens") or room, room)
        writing = Writing(self._pieces, self._end, body, asyncio.get_running_loop())
        top = (body.get("top_logprobs") or 0) if body.get("logprobs") else 0
        heat = body.get("temperature", 1.0)
        self._engine.add(Reply(prompt, body["max_tokens"], heat, body.get("seed") or 0, top, writing.drawn), writing)
        try:
            return await self._streamed(request, writing, len(prompt), bool(body.get("stream")))
        finally:
            writing.left = True

    async def _streamed(self, request: web.Request, writing: Writing, read: int, live: bool) -> web.StreamResponse:
        response, text, chances, ended = web.StreamResponse(), "", [], False
        response.content_type = "text/event-stream"
        if live:
            await response.prepare(request)
        while not ended:
            part, more, ended = await writing.news.get()
            text, chances = text + part, chances + more
            if live:
                await response.write(_event([_choice("delta", part, more, writing if ended else None)]))
        usage = {"prompt_tokens": read, "completion_tokens": writing.count, "total_tokens": read + writing.count}
        if live:
            await response.write(_event([], usage) + b"data: [DONE]\n\n")
            await response.write_eof()
            return response
        return web.json_response(_page("chat.completion", [_choice("message", text, chances, writing)], usage))


def _text(body: dict[str, Any]) -> str:
    turns = body["messages"]
    text = "".join(f"{START}{turn['role']}\n{turn['content']}{END}\n" for turn in turns)
    if body.get("continue_final_message"):
        return text.removesuffix(f"{END}\n")
    return f"{text}{START}assistant\n"


def _choice(name: str, text: str, chances: list[dict[str, Any]], ended: Writing | None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, name: {"role": "assistant", "content": text}, "finish_reason": None}
    if chances:
        choice["logprobs"] = {"content": chances}
    if ended:
        choice |= {"finish_reason": ended.finish, "stop_reason": ended.stopped_by}
    return choice


def _page(kind: str, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> dict[str, Any]:
    page: dict[str, Any] = {"id": "chat", "object": kind, "created": 0, "model": export.NAME, "choices": choices}
    return page | ({"usage": usage} if usage else {})


def _event(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> bytes:
    return b"data: " + json.dumps(_page("chat.completion.chunk", choices, usage)).encode() + b"\n\n"


def _refused(why: str) -> web.Response:
    return web.json_response({"error": {"message": why, "type": "BadRequestError", "code": 400}}, status=400)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="none is what ships")
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1")
    parser.add_argument("--slots", type=int, default=512, help="number of replies decoded together")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    server = Server(given.file or pull(), given.slots, device)
    web.run_app(server.app(), host="127.0.0.1", port=given.port)


if __name__ == "__main__":
    main()
