"""`tts` beside what a user would pick instead, on one neutral server; writes the tables of peers.md.

    make peers                                 every duel that has not been run at this commit, then the tables
    python benchmarks/models/peers.py adaptive d1     these alone; `--again` forgets what they have given before

The server and each contestant run in processes of their own (contestants/), the contestants taking turns, each peer in
an environment of its own that is installed when its first duel begins. What each round gives is kept under build/peers,
so that an interrupted duel goes on where it was. Where the CPU of one request goes is in ladder.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contestants.server import right_answer

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "peers"
CONTESTANTS = HERE / "contestants"
PEERS = {
    "its_hub": ["its_hub[lm]==1.2.0"],
    "dspy": ["dspy==3.4.*"],
    "ray_data": ["ray[data]==2.60.*", "aiohttp==3.*"],
}
LIMIT_S = 150.0  # of one contestant
ENVIRONMENT = {
    **os.environ,
    "OPENAI_API_KEY": "none",
    "NO_COLOR": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
STANDING = {**ENVIRONMENT, "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}  # of a Ray and of those who use it
Found = dict[str, float]  # what one contestant's turn has given, by metric


@dataclass(frozen=True)
class Load:
    problems: int
    n: int
    at_once: int

    @property
    def requests(self) -> int:
        return self.problems * self.n


@dataclass(frozen=True)
class Contestant:
    """One row: `peer` is its environment, none for that of `tts`; `words` are its command line, with {url}, {problems},
    {n}, {at_once}, {out} and {ray}; `standing`: whether a Ray of its environment runs already, whose address is {ray}.
    """

    name: str
    words: str
    peer: str = ""
    tokens_per_event: int = 1
    standing: bool = False

    @property
    def bin(self) -> Path:
        return BUILD / self.peer / "bin" if self.peer else Path(sys.executable).parent

    def command(self, url: str, problems: Path, load: Load, out: str, ray: str = "local") -> list[str]:
        facts = {"url": url, "problems": problems, "n": load.n, "at_once": load.at_once, "out": out, "ray": ray}
        words = self.words.format(**facts).split()
        script = [str(CONTESTANTS / words[0]), *words[1:]] if words[0].endswith(".py") else words
        return [str(self.bin / "python"), *script]


@dataclass(frozen=True)
class Bar:
    row: str
    metric: str
    most: float  # times that of the other row
    beside: str


@dataclass(frozen=True)
class Duel:
    """Contestants under one load; the first is what the others are compared with. With `less`, what a request costs is
    the difference between the load and this smaller one. `busy`: processes that compute beside it."""

    title: str
    load: Load
    settings: dict[str, Any]
    rows: tuple[Contestant, ...]
    metrics: tuple[str, ...]
    bars: tuple[Bar, ...] = ()
    rounds: int = 3
    less: Load | None = None
    busy: int = 0
    new_problems: bool = False  # in each round


def tts(name: str, strategy: str, tokens_per_event: int = 1, more: str = "") -> Contestant:
    words = (
        f"-m tts sweep {{problems}} -s {strategy} --grader exact --base-url {{url}} --model fake -c {{at_once}} "
        f"--max-tokens 1000 --out {{out}} --no-report --json {more}"
    )
    return Contestant(name, words, tokens_per_event=tokens_per_event)


COMMON = "{url} {problems} {n} {at_once}"
BARE = Contestant("bare aiohttp loop", f"bare.py {COMMON}")
HUB = Contestant("its_hub", f"hub.py {COMMON} SelfConsistency", "its_hub")
DSPY = Contestant("DSPy", f"dspy_parallel.py {COMMON}", "dspy")
RAY_DATA = Contestant("Ray Data", f"ray_data.py {COMMON} {{ray}}", "ray_data")
ON_RAY = tts("tts, Ray", "majority_vote:n=8", 1, "--cluster ray --address {ray}")
WHOLE = 1000  # tokens in one event: the whole reply
ONE, HUNDRED = "tts, 1 event a reply", "tts, 100 events a reply"
VOTE_OF_8 = (tts(ONE, "majority_vote:n=8", WHOLE), tts(HUNDRED, "majority_vote:n=8"))
MANY = Load(1000, 8, 256)
SLOW, AT_ONCE = {"first_token_s": 0.2}, {"first_token_s": 0.0}
BETA = "its_hub, Beta"
ALL_AHEAD, ONE_AHEAD = "tts, stop_at=0.95, min_in_flight=16", "tts, stop_at=0.95"
DUELS = {
    "d1": Duel(
        "One problem, n = 64, replies after 200 ms",
        Load(1, 64, 256),
        SLOW,
        (BARE, tts("tts", "majority_vote:n=64"), HUB, DSPY),
        ("span_s", "wall_s", "cpu_s"),
        (Bar("tts", "span_s", 1.1, BARE.name),),
        rounds=5,
    ),
    "d2": Duel(
        "1,000 problems × 8, 256 in flight, replies after 200 ms (6.25 s at the least)",
        MANY,
        SLOW,
        (BARE, *VOTE_OF_8, HUB, DSPY),
        ("wall_s", "cpu_s", "span_s"),
        (Bar(ONE, "wall_s", 1.15, BARE.name), Bar(HUNDRED, "wall_s", 1.15, BARE.name)),
    ),
    "zero": Duel(
        "CPU of a request, replies at once",
        MANY,
        AT_ONCE,
        (BARE, *VOTE_OF_8),
        ("request_us",),
        (Bar(ONE, "request_us", 2.2, BARE.name), Bar(HUNDRED, "request_us", 5.0, BARE.name)),
        less=Load(25, 8, 256),
    ),
    "adaptive": Duel(
        "Adaptive voting, n = 16, lengths with a long tail (median 50 tokens, 20 ms each), 12 problems at once",
        Load(12, 16, 256),
        {"first_token_s": 0.1, "token_s": 0.02, "long_tail": True},
        (
            Contestant(BETA, f"hub.py {COMMON} BetaSelfConsistency", "its_hub"),
            tts(ALL_AHEAD, "majority_vote:n=16,stop_at=0.95,min_in_flight=16", 5),
            tts(ONE_AHEAD, "majority_vote:n=16,stop_at=0.95", 5),
            tts("tts, esc", "esc:n=16,window=4", 5),
            tts("tts, all 16", "majority_vote:n=16", 5),
        ),
        ("problem_s", "decoded", "right"),
        (Bar(ALL_AHEAD, "problem_s", 1.0, BETA), Bar(ALL_AHEAD, "decoded", 1.0, BETA)),
        rounds=4,
        new_problems=True,
    ),
    "ray": Duel(
        "The 8,000 requests of 1,000 problems on Ray, started by the run",
        MANY,
        SLOW,
        (tts("tts, no Ray", "majority_vote:n=8"), ON_RAY, RAY_DATA),
        ("wall_s", "cpu_s", "span_s"),
        (
            Bar("tts, Ray", "wall_s", 1.15, "tts, no Ray"),
            Bar("tts, Ray", "cpu_s", 1.4, "tts, no Ray"),
            Bar("tts, Ray", "wall_s", 1.0, RAY_DATA.name),
        ),
        rounds=2,
    ),
    "standing": Duel(
        "The same on a Ray that runs already (its CPU time is not the command's)",
        MANY,
        SLOW,
        (tts("tts, no Ray", "majority_vote:n=8"), replace(ON_RAY, standing=True), replace(RAY_DATA, standing=True)),
        ("wall_s", "span_s"),
        (Bar(ON_RAY.name, "wall_s", 1.15, "tts, no Ray"), Bar(ON_RAY.name, "wall_s", 1.0, RAY_DATA.name)),
        rounds=2,
    ),
    "loaded": Duel(
        "1,000 problems × 8 beside twelve processes that compute all the time",
        MANY,
        SLOW,
        (HUB, tts(HUNDRED, "majority_vote:n=8")),
        ("wall_s", "cpu_s"),
        (Bar(HUNDRED, "wall_s", 1.0, HUB.name),),
        rounds=1,
        busy=12,
    ),
}
HEADS = {
    "wall_s": "wall s",
    "cpu_s": "CPU s",
    "span_s": "at the server, s",
    "request_us": "CPU µs a request",
    "problem_s": "mean s to the decision",
    "decoded": "tokens decoded",
    "right": "right",
}


# --- running


@contextmanager
def server() -> Iterator[str]:
    """The neutral server's address, without a path."""
    process = subprocess.Popen([sys.executable, str(CONTESTANTS / "server.py"), "0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def standing_ray(bin: Path) -> Iterator[str]:
    """The address of a Ray that is started from this environment, once it can be connected to."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        str(bin / "python"),
        "-m",
        "ray.scripts.scripts",
        "start",
        "--head",
        "--block",
        f"--port={port}",
        "--node-ip-address=127.0.0.1",
    ]
    options = ["--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats"]
    process = subprocess.Popen(
        [*command, *options], env=STANDING, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "Ray runtime started" in line:
                break
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def busy(processes: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as response:
        found: dict[str, Any] = json.load(response)
    return found


def problems_of(load: Load, first: int) -> Path:
    path = BUILD / f"problems-{first}-{load.problems}.jsonl"
    lines = [
        {"id": f"p{i}", "question": f"Problem {i}: what is its number? Answer in \\boxed{{}}.",
         "answer": str(right_answer(i))}
        for i in range(first, first + load.problems)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(url: str, duel: Duel, row: Contestant, load: Load, first: int) -> Found:
    """Raises: SystemExit with what the contestant said, if it failed."""
    ask(f"{url}/settings", {**duel.settings, "tokens_per_event": row.tokens_per_event})
    standing = standing_ray(row.bin) if row.standing else nullcontext("local")
    with tempfile.TemporaryDirectory(dir=BUILD) as out, standing as ray:
        command = row.command(f"{url}/v1", problems_of(load, first), load, out, ray)
        measured = [sys.executable, str(CONTESTANTS / "measured.py"), str(LIMIT_S), *command]
        environment = STANDING if row.standing else ENVIRONMENT
        done = json.loads(subprocess.run(measured, env=environment, capture_output=True, text=True, check=True).stdout)
    if done["status"]:
        sys.exit(f"{row.name} ended with {done['status']}, expected 0: {done['err'] or done['out'][-2000:]}")
    counts = ask(f"{url}/counts")
    return {"wall_s": done["wall_s"], "cpu_s": done["cpu_s"], "right": right_of(done["out"]), **without_cpu(counts)}


def without_cpu(counts: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in counts.items() if name != "cpu_s"}


def right_of(out: str) -> float:
    """The accuracy that a contestant has printed: its own line, or the table of a sweep."""
    found = json.loads(out[out.index("{") :])
    return float(found["right"] if "right" in found else found["rows"][0]["accuracy"]["mean"])


def turn(url: str, duel: Duel, row: Contestant, first: int) -> Found:
    found = run(url, duel, row, duel.load, first)
    if duel.less is not None:
        less = run(url, duel, row, duel.less, first)
        cpu_s = found["cpu_s"] - less["cpu_s"]
        found["request_us"] = 1e6 * cpu_s / (duel.load.requests - duel.less.requests)
    return found


def fight(name: str, url: str, again: bool) -> None:
    """Run the rounds of a duel that are missing at this commit."""
    duel, path = DUELS[name], BUILD / f"{name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() and not again else {}
    if kept.get("commit") != commit():
        kept = {"commit": commit(), "rounds": []}
    for peer in {row.peer for row in duel.rows if row.peer}:
        install(peer)
    while len(kept["rounds"]) < duel.rounds:
        number = len(kept["rounds"])
        first = 1 + number * duel.load.problems if duel.new_problems else 1
        found = {}
        with busy(duel.busy):
            for row in duel.rows:
                found[row.name] = turn(url, duel, row, first)
                said = ", ".join(f"{HEADS[m]} {found[row.name][m]:.3g}" for m in duel.metrics)
                print(f"{name}, round {number + 1}: {row.name}: {said}", flush=True)
        kept["rounds"].append(found)
        kept |= {"date": time.strftime("%Y-%m-%d"), "load": round(os.getloadavg()[0], 1)}
        path.write_text(json.dumps(kept, indent=1))


def install(peer: str) -> None:
    """An environment of its own for a peer, once."""
    place = BUILD / peer
    if (place / ".ready").exists():
        return
    print(f"installing {', '.join(PEERS[peer])} in {place}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
    subprocess.run([str(place / "bin" / "pip"), "install", "--quiet", *PEERS[peer]], check=True)
    (place / ".ready").touch()


def commit() -> str:
    command = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# --- the tables


def over(rounds: Sequence[dict[str, Found]], row: str, metric: str, beside: str) -> float:
    """The median over the rounds of how many times the other's this row's is."""
    return statistics.median(found[row][metric] / max(found[beside][metric], 1e-9) for found in rounds)


def section(name: str) -> str:
    duel, kept = DUELS[name], json.loads((BUILD / f"{name}.json").read_text())
    rounds: list[dict[str, Found]] = kept["rounds"]
    base = duel.rows[0].name
    heads = [cell for m in duel.metrics for cell in (HEADS[m], *([] if m == "right" else ["best", "×"]))]
    lines = [f"| contestant | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]
    for row in duel.rows:
        cells = []
        for metric in duel.metrics:
            values = [found[row.name][metric] for found in rounds]
            if metric == "right":
                cells.append(f"{statistics.mean(values):.3f}")
                continue
            ratio = over(rounds, row.name, metric, base)
            cells += [number(statistics.median(values)), number(min(values)), f"{ratio:.2f}"]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    about = f"{len(rounds)} rounds on {kept['date']}, commit {kept['commit']}, load after them {kept['load']}."
    bars = [verdict(rounds, bar) for bar in duel.bars]
    return "\n".join([f"## {duel.title}", "", f"`{name}`: {about}", "", *lines, "", *bars])


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def verdict(rounds: Sequence[dict[str, Found]], bar: Bar) -> str:
    found = over(rounds, bar.row, bar.metric, bar.beside)
    met = "met" if found <= bar.most else "**missed**"
    return f"- {met}: {bar.row}: {HEADS[bar.metric]} {found:.2f} × that of {bar.beside}, bar <= {bar.most:g}"


def versions() -> str:
    """Of the peers that are installed, as they are."""
    packages = {"its_hub": "its_hub", "dspy": "dspy", "ray_data": "ray"}
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    found = []
    for peer, package in packages.items():
        if (BUILD / peer / ".ready").exists():
            command = [str(BUILD / peer / "bin" / "python"), "-c", code, package]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
            found.append(f"{package} {said}")
    own = subprocess.run([sys.executable, "-c", code, "aiohttp"], capture_output=True, text=True, check=True)
    return ", ".join([f"aiohttp {own.stdout.strip()}", *found])


ABOUT = """# Beside other programs

Written by `make peers` on {cores} cores ({machine}, Python {python}).
{versions}.

Medians over the rounds, the best round, and × the first row's, each round compared in itself. Wall and CPU are of the
whole command with all its processes, its start included; `at the server` is from the first request to the last end,
`to the decision` from a problem's first request until the server decodes nothing of it any more. Replies have 100
tokens where nothing else is said. The k-th request of a problem gets the same reply whoever asks. The bare loop,
its_hub, DSPy and Ray Data ask for whole replies, so events cost them nothing. `tts` writes its journal, and no report.
Where its CPU goes: [ladder.md](ladder.md).
"""


def text() -> str:
    names = [name for name in DUELS if (BUILD / f"{name}.json").exists()]
    facts = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "versions": versions(),
    }
    return "\n\n".join([ABOUT.format(**facts).strip(), *map(section, names)]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("duels", nargs="*", choices=[[], *DUELS], metavar="DUEL", help=f"one of {', '.join(DUELS)}")
    parser.add_argument("--again", action="store_true", help="forget what these duels have given before")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = stack.enter_context(server())
        for name in options.duels or DUELS:
            fight(name, url, options.again)
    Path(__file__).with_suffix(".md").write_text(text())


if __name__ == "__main__":
    main()
