"""`tts serve` killed at random moments: its books know of every token that was decoded for a key, and of none beyond
what its requests under way may have cost. `TTS_KILLS=30` kills it more often."""

import os
import random
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import CHAT, serve_process

from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

KILLS = int(os.environ.get("TTS_KILLS", "3"))
KEYS = {"alice": "secret-a", "bob": "secret-b"}
REQUEST_TOKENS, REPLY_TOKENS = 120, 12


class Asking:
    """Who asks the server all the time, four at once for each key.

    Attributes:
        answered: tokens that answers say they have cost, by key; unanswered: requests that had none.
    """

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.unanswered: Counter[str] = Counter()

    def until_killed(self, url: str, draw: random.Random) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._ask, args=(url, name, draw.random())) for name in KEYS for _ in "1234"]
        for thread in threads:
            thread.start()
        return threads

    def _ask(self, url: str, name: str, seed: float) -> None:
        draw = random.Random(seed)
        with httpx2.Client(headers={"authorization": f"Bearer {KEYS[name]}"}, timeout=20) as client:
            while self._answered(client, url, name, draw):
                pass

    def _answered(self, client: httpx2.Client, url: str, name: str, draw: random.Random) -> bool:
        body = {
            "messages": [{"role": "user", "content": f"{name} asks {draw.random()}"}],
            "seed": draw.randrange(2**31),
            "stream": draw.random() < 0.3,
            "stream_options": {"include_usage": True},
            "tts": {"strategy": draw.choice(["single", "majority_vote:n=3"])},
        }
        if not body["stream"]:
            del body["stream_options"]
        try:
            reply = client.post(f"{url}{CHAT}", json=body)
        except httpx2.HTTPError:
            self.unanswered[name] += 1
            return False
        found = re.findall(r'"completion_tokens": ?(\d+)', reply.text)
        assert reply.status_code == 200 and len(found) == 1, reply.text
        self.answered[name] += int(found[0])
        return True


def spent(url: str) -> dict[str, int]:
    """Tokens, by key, as the server's metrics have them."""
    text = httpx2.get(f"{url}/metrics", headers={"authorization": f"Bearer {KEYS['bob']}"}).text
    return {name: int(float(count)) for name, count in re.findall(r'_tokens_total\{key="(\w+)"\} (\S+)', text)}


@pytest.mark.system
def test_after_kills_each_keys_ledger_has_what_was_decoded_and_at_most_the_worst_case(tmp_path: Path) -> None:
    owners: dict[Any, str] = {}

    def script(request: dict[str, Any]) -> Reply:
        owners[request["seed"]] = next(name for name in KEYS if name in str(request["messages"]))
        return Reply((*(" so" for _ in range(REPLY_TOKENS - 2)), " Answer:", " 7"), per_token_s=0.01)

    options = ["--state", "state", "--budget", f"tokens={REQUEST_TOKENS}", "--max-tokens", "40"]
    keys = "".join(f"{name}: {{key: ${name.upper()}, budget: tokens=10m}}\n" for name in KEYS)
    secrets = {name.upper(): secret for name, secret in KEYS.items()}
    asking, draw = Asking(), random.Random(KILLS)
    with FakeEngine(script) as engine:
        for _ in range(KILLS):
            with serve_process(tmp_path, engine.base_url, *options, keys=keys, environment=secrets) as (process, url):
                threads = asking.until_killed(url, draw)
                assert engine.wait(lambda stats: stats.open_streams > 0)
                time.sleep(draw.uniform(0.05, 0.8))
                process.kill()
                for thread in threads:
                    thread.join()
                assert engine.wait_idle()
        with serve_process(tmp_path, engine.base_url, *options, keys=keys, environment=secrets) as (_, url):
            found = spent(url)
        decoded = Counter[str]()
        for served in engine.served:
            decoded[owners[served.seed]] += served.tokens
    for name in KEYS:
        worst = asking.answered[name] + REQUEST_TOKENS * asking.unanswered[name]
        assert decoded[name] <= found[name] <= worst, (name, decoded, found, asking.answered, asking.unanswered)
        assert asking.unanswered[name] >= KILLS
