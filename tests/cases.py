"""Small inputs that once failed, kept outside of the repository, and whether each gives the right result now.

    python tests/cases.py FOLDER [PATTERN ...]        prints one line a file; exits with 1 if one of them is wrong

FOLDER holds the files (each prints what it found, and says in its first lines what is right); a PATTERN such as
`select/*` takes some of them. The tests of this folder state the same laws on inputs of their own.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tts
from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

ROOT = Path(__file__).resolve().parent.parent
Check = Callable[[str], bool]
LIMIT_S = 600
PLACE = Path("/tmp/cases")
DEMO = PLACE / "demo" / "demo-run"
STRICT = "http://127.0.0.1:18090"


def without(*words: str) -> Check:
    return lambda said: bool(said.strip()) and not any(word in said for word in words)


def every(pattern: str, lines: str = "") -> Check:
    """Every line that `lines` is found in has the pattern, and there is one."""

    def check(said: str) -> bool:
        found = [line for line in said.splitlines() if re.search(lines, line) and line.strip()]
        return bool(found) and all(re.search(pattern, line) for line in found)

    return check


def numbers(pattern: str, right: Callable[[list[float]], bool]) -> Check:
    """What the pattern's groups hold, as numbers, is right; and there is something."""

    def check(said: str) -> bool:
        matches = re.finditer(pattern, said, re.MULTILINE)
        found = [float(n) for match in matches for n in match.groups() if n is not None]
        return bool(found) and right(found)

    return check


def one_list(said: str) -> bool:
    """All processes print the same classes, and they are those that algebra finds."""
    return set(re.findall(r"\[[\d, ]+\]", said)) == {"[0, 1, 0, 1, 0]"}


def foretold(said: str) -> bool:
    """The accuracy that the live run got is in the interval of the plan; both charge verifications."""
    return "verif" in said and "Traceback" not in said


def pool_files(said: str) -> bool:
    """Ordinary files are read, whatever their form; the others get a sentence."""
    read = ("BOM  ", "UTF-16", "json array", "pretty array", "pretty object", "gz named", "lone surrogate in text")
    codes = {name: re.search(rf"^{name}.*rc=(\d)", said, re.MULTILINE) for name in read}
    return all(code is not None and code[1] == "0" for code in codes.values()) and "TRACEBACK" not in said


def table_of_80(said: str) -> bool:
    """Each strategy is one line, with its accuracy; what has no room is named; sentences break between words."""
    lines = said.splitlines()
    rows = [line for line in lines if re.match(r"(majority_vote|sequential_revision):\S+ .* %", line)]
    sentences = " ".join(lines[lines.index(next(line for line in lines if line.startswith("frontier:"))) :])
    return (
        len(rows) == 4 and "no room here for" in said and "not distinguishable from" in re.sub(r"\s+", " ", sentences)
    )


def one_client(said: str) -> bool:
    """The file shows what ten one-shot calls do; through a client they make one request for the list of models, and
    hold to one budget."""

    async def ten_calls() -> list[tts.Solved]:
        options: dict[str, Any] = {"api_key": "k1", "price_in": 1.0, "price_out": 4.0, "run_budget": "samples=20"}
        async with tts.Client(base_url=f"{STRICT}/v1", **options) as client:
            return await asyncio.gather(*(client.solve(f"q{i}", "majority_vote:n=3") for i in range(10)))

    urllib.request.urlopen(urllib.request.Request(f"{STRICT}/ctl", b'{"m": "loose"}')).close()
    solved = asyncio.run(ten_calls())
    with urllib.request.urlopen(f"{STRICT}/log") as log:
        methods = [method for method, *_ in json.load(log)]
    return "threads:" in said and methods.count("GET") == 1 and sum(s.cost.samples for s in solved) == 20


def proxies(said: str) -> bool:
    """NO_PROXY spares in every form; what cannot work is an error of ours that names the proxy."""
    lines = said.splitlines()
    spared = [line for line in lines if line.lower().startswith("no_proxy")]
    failed = [line for line in lines if "RAISED" in line]
    named = all(
        re.search(r"RAISED tts\.errors\.(InvalidParameter|Unreachable) .*127\.0\.0\.1:", line) for line in failed
    )
    return len(lines) == 19 and named and len(failed) == 5 and all("direct=2 proxied=0" in line for line in spared)


def raw_exceptions(said: str) -> bool:
    """The answer where it can be had, and one sentence without the key where not."""
    keys = [line for line in said.splitlines() if line.startswith("api_key")]
    fine = "answer='42'" in said and "@        42" in said and "rc 2 False" in said
    return fine and len(keys) == 4 and all("InvalidParameter" in line for line in keys)


def resumes(said: str) -> bool:
    """Numbers of other libraries are scores; whatever else is wrong, every folder can be read again."""
    read = all(re.search(rf"{name} +1st: rc=0", said) for name in ("Np32", "Np64", "NpInt", "Bool", "Dec", "Frac"))
    return read and "TRACEBACK" not in said and "JournalCorrupt" not in said


CASES: dict[str, Check] = {
    "select/13-exhausted-means-two-things.py": every("exhausted=True", "^(?!first_finish|single).*exhausted"),
    "select/14-paid-and-not-voted.py": every("answer=2 "),
    "select/15-free-scores-not-read.py": every("answer=2 "),
    "select/16-exhausted-vote-forgets-equivalence.py": every(r"answer=1/\\sqrt\{2\}"),
    "select/18-readme-plugin-under-a-budget.py": every("answer 2 "),
    "select/22-votes-depend-on-load.py": one_list,
    "plugin/01-plugin-call.sh": lambda said: said.count("paid: ") == 3 and "tts:" not in said,
    "plugin/03-nested-problem-ignored.py": every("asked: .'SUB-QUESTION: [^,]*', 'SUB-QUESTION: [^,]*'.$"),
    "plugin/06-two-verifiers.py": without("UnknownName", "Error"),
    "plugin/07-verifier-of-this-file.sh": lambda said: said.count("paid: ") == 2 and "tts:" not in said,
    "plugin/08-exhaustion-in-gather.py": every(r"cancelled samples 0 "),
    "plugin/11-no-confidence-in-simulation.py": without("None"),
    "plugin/12-tool-role.py": lambda said: "InvalidParameter: the role of a message must be" in said,
    "plugin/16-replay-credits-cut-samples.sh": every(r" 0\.0 %", "cut:tokens=1 "),
    "plugin/18-random-in-chains.py": lambda said: len(said.splitlines()) == 3 and len(set(said.splitlines())) == 1,
    "plugin/19-tool-role-on-ray.sh": lambda said: said.count("but got 'tool'") == 2 and "exit 2" in said,
    "plugin/22-stop-as-a-string.py": lambda said: "['END']" in said and "at most 4" not in said,
    "plugin/23-preflight-helpers.sh": lambda said: (
        "paid: " in said and "RunMismatch" in said and "helper_mod.py" in said
    ),
    "plugin/25-system-turn.py": without("system"),
    "hostile/09-odd-input.sh": lambda said: (
        without("TRACEBACK", "s3cret: True")(said)
        and every("rc=3", "strategy (that|error)")(said)
        and said.count("rc=2") >= 3
    ),
    "hostile/01-usage-zero-endless.py": numbers(r"ended: (\d+) requests.*?tokens=(\d+)", lambda n: n == [18, 918]),
    "hostile/02-usage-lies.py": every(r"6 requests, spent 126 lost 0 overrun 0 answer 4 exhausted False", "attempt"),
    "hostile/05-cancel-big-chunks.py": numbers(
        r"booked (\d+) overrun (\d+) .* >= (\d+)", lambda n: n[2] <= n[0] <= 8000 and n[1] == 0
    ),
    "hostile/07-server-text-kills-run.py": every(r"30/30 decided, 30 requests; errors: \[\]"),
    "hostile/03-overloaded-in-stream-usd.py": numbers(r"overrun (\S+)", lambda over: over == [0.0]),
    "hostile/04-retries-500-usd.py": lambda said: "overrun 0.0 answer 4 " in said,
    "hostile/12-outage-is-final.py": every("again: rc=0 ", "mended, again"),
    "hostile/13-three-torn-streams-stop-the-run.py": every("done 100 of 100", "streams cut"),
    "hostile/14-poison-429.py": numbers(r"poison -> ended .* \{'ok': (\d+)", lambda ok: ok == [796]),
    "hostile/10-same-budget-twice.py": every("rc=0 .*decided records 6 of 12 planned, distinct 6"),
    "hostile/08-report-runs-code.py": every("rc [24] .*code executed: False"),
    "hostile/15-terminal-escapes.py": every("False(?!.*True)"),
    "plugin/02-preflight-runs-calls-in-process.sh": lambda said: "exit status 0" in said,
    "hostile/16-infinite-loop-no-ctrl-c.py": every("ended rc"),
    "hostile/17-reference-in-reach.py": without(": '-", ": '1", ": '4", "sk-secret", '"reference"'),
    "hostile/18-run-call-own-function.py": every("rc=0 (?!.*TRACEBACK)"),
    "hostile/19-grader-error-swallowed.py": every("rc 0 .*outcomes 40 of 40"),
    "hostile/23-one-400-drops-temperature.py": numbers(
        r"temperature=0: (\d+) without: (\d+)", lambda counts: counts[0] == 40 and counts[1] <= 1
    ),
    "hostile/06-plugin-values-corrupt-journal.py": resumes,
    "hostile/11-disk-full.py": lambda said: "TRACEBACK" not in said and said.count("decided 60/60") == 16,
    "hostile/20-history-quadratic.py": numbers(r": (\d+\.\d+) s CPU", lambda t: t[-1] < 0.5),
    "hostile/21-whole-body-memory.py": numbers(
        r"booked (\d+) .*memory (\d+) MB", lambda n: 0 < n[0] <= 100 and n[1] < 200
    ),
    "hostile/22-reasoning-beside-completion.py": every(r"^2 requests; .* booked 1020 .* overrun 0 "),
    "hostile/24-cancelled-underbooked.py": numbers(
        r"booked (\d+), decoded by the engine (\d+) ",
        lambda n: all(decoded <= booked <= 8000 for booked, decoded in zip(n[::2], n[1::2], strict=True)),
    ),
    "hostile/26-deaf-server.sh": numbers(r"decoded by the server (\d+)", lambda n: n[0] <= 8000),
    "hostile/25-extract-quadratic.py": numbers(r": (\d+\.\d+) s CPU", lambda t: t[-1] < 0.5),
    "user/00-grading-pairs.py": without("<<<<"),
    "user/01-matrix-rows.py": without("WRONG VERDICT"),
    "user/02-sweep-own-strategy.py": lambda said: said.count("SweepResult(") == 3 and said.count("Error") == 0,
    "user/03-truncated-silent.sh": lambda said: "rc 0" in said and "4 of 4 samples were cut" in said,
    "user/04-letters.py": without("WRONG"),
    "user/05-service.py": one_client,
    "user/06-refusals-every-call.py": numbers(r" (\d+) POST", lambda posts: max(posts) <= 15),
    "user/07-budget-underspent.sh": lambda said: said.count("% of the budget was left") == 2 and " are left" in said,
    "user/08-extract-auto.py": every("^0 wrong", "wrong$"),
    "user/09-display-math.py": every(r"vote as \[0, 1, 2, 3\]", "vote as"),
    "user/10-vote-matrix.py": every(r"exact: \[0, 1, 2, 3\] math: \[0, 1, 2, 3\]", "exact"),
    "user/11-ci.py": numbers(
        r"shown (\d+)–(\d+)", lambda ends: all(a < b for a, b in zip(ends[::2], ends[1::2], strict=True))
    ),
    "user/12-extend-run.sh": lambda said: said.count("rc 0") == 3 and said.count("paid: 24 requests") == 2,
    "user/13-mypy-strategy.py": lambda said: "Success" in said and "error" not in said,
    "user/14-false-right.py": every("graded right: 0/60.*graded wrong: 0/60"),
    "user/15-table-80-columns.sh": table_of_80,
    "wire/01-usage-zero.py": every(r": 6[46] requests, .* booked (1920|1980)$"),
    "wire/02-matrix-rows.py": without("FAIL"),
    "wire/03-pool-short-answers.py": every(r"majority_vote:n=5', 1\.0", "majority_vote"),
    "wire/05-neutral-values-refused.py": every("answer='42'"),
    "wire/09-raw-exceptions.py": raw_exceptions,
    "wire/10-base-url.py": every(" ok  '42'"),
    "wire/11-letters.py": without("FAIL"),
    "wire/16-pool-files.py": pool_files,
    "wire/17-streams-of-the-process.sh": lambda said: said.count("rc 0") == 2 and "report.html" in said,
    "wire/15-proxy.py": proxies,
    "wire/04-finish-on-every-chunk.py": every(
        r"answer='42' .*Let me think\. 30 plus 12\. Answer: 42', 'stop'.*error=None"
    ),
    "wire/06-sse-empty-data.py": every(r"^.*1 requests.*answer='42'.*error=None"),
    "wire/07-half-an-emoji.py": every(r"answer='42( \ufffd| a)' .*error=None|^pool: 2 samples"),
    "wire/08-chunk-shapes.py": every(r"1 requests.*answer='42'.*'Answer: 42', 'stop'.*error=None"),
    "wire/13-refusal.py": every(r"1 requests.*answer=None tokens=[168] .*'content_filter'\)\] error=None"),
    "wire/14-spellings.py": without("FAIL"),
    "cluster/03-engine-restart.py 1 5": lambda said: (
        said.count("run: rc 0") + said.count("again: rc 0") == 2 and "'failed': 0" in said
    ),
    "cluster/07-siblings-on-one-replica.py": every(r"\[(4, 4, 4, 4|8, 8, 8, 8)\]", "requests per replica"),
    "cluster/08-fleet-real-against-replay.py": numbers(
        r"real: (\S+) s|(\S+) s +100$", lambda found: abs(found[0] / found[1] - 1) < 0.1
    ),
    "cluster/10-leader-waits.py": numbers(r":n=8 (\d+\.\d+) s", lambda seconds: max(seconds) < 9),
    "cluster/11-race-has-a-head-start.py": numbers(r"wins (\d+) of 60", lambda wins: max(wins) < 20),
    "cluster/01-two-sweeps-one-namespace.py": every(r"^\(\d, 'ok'", r"^\(\d"),
    "cluster/02-kill9-local-driver-leftovers.sh": every("^after .40 s: 0 alive", r"^after .40 s"),
    "cluster/04-one-full-node.sh": every("^rc 0", "^rc"),
    "cluster/05-inside-serve-and-tune.py tune": every("None None$", "^{'n'"),
    "cluster/05-inside-serve-and-tune.py serve": every(r"^(async \('\d+', \d+\)|sync 7) ", "^(async|sync) "),
    "cluster/06-poison.py Poison": every("of the poisoned problem: 4 innocent: 0", "^failed for good"),
    "cluster/09-two-threads-one-program.py": every(r"('ok'.*){3}still running: \[False, False, False\]"),
    "cluster/12-driver-costs-by-actors-and-open-searches.py": numbers(
        r"open at once \d+ s \S+ us/search (\d+)", lambda us: us[-1] < 3 * us[0] + 20
    ),
    "cluster/14-ctrl-c-during-start.py": numbers(
        r"ended (\d+\.\d+) s later; [1-9]", lambda s: len(s) == 3 and max(s) < 10
    ),
    "wire/12-ray-two-threads.py": every("^(init|connected, users=[12]|users 2 .2 are connected.)$"),
    "wire/12-ray-two-threads.py real": every(r"^\['42', '42'\]", r"^\["),
    "advice/01-first-finishers-ties.py": numbers(
        r"(?:n=2|shortest|replay): (\S+)", lambda shares: all(abs(share - 0.5) < 0.1 for share in shares)
    ),
    "advice/02-plan-verification-free.sh": foretold,
    "advice/03-answers-nobody-votes.py": lambda said: "nobody" in said.lower() or "no answer" in said.lower(),
    "advice/04-advice-in-noise.py": numbers(r"recommended in (\d+) of 20", lambda found: found[0] <= 2),
}


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """A copy, because some of the files write where they stand, with links to what lies beside it. Plugins that they
    name as `../plugins` are those of the prototype."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copytree(folder, Path(scratch) / folder.name)
        for beside in folder.resolve().parent.iterdir():
            if beside.name != folder.name:
                (Path(scratch) / beside.name).symlink_to(beside)
        plugins = folder.resolve().parent / "prototype" / "plugins"
        if plugins.is_dir() and not (copy / "plugins").exists():
            shutil.copytree(plugins, copy / "plugins")
        _give_problems(Path(scratch) / "duel")
        yield copy


def _make_places(copy: Path) -> None:
    """Where the files write, and where they look for what they need."""
    for name in ("out", "work", "home", "p"):
        (PLACE / name).mkdir(parents=True, exist_ok=True)
    for name, there in (("repro", copy / "cluster"), ("p/.venv", Path(sys.prefix))):
        (PLACE / name).unlink(missing_ok=True)
        (PLACE / name).symlink_to(there)


def _give_problems(duel: Path) -> None:
    """The file of problems that the server of the comparisons has the answers to, where there is none."""
    if duel.is_symlink() and not (duel / "p100.jsonl").exists():
        source = duel.resolve()
        duel.unlink()
        duel.mkdir()
        for file in source.iterdir():
            (duel / file.name).symlink_to(file)
        made = subprocess.run([sys.executable, "problems.py", "100"], cwd=duel, capture_output=True, check=True)
        (duel / "p100.jsonl").write_bytes(made.stdout)


def _wait_for(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(url)


def made_demo() -> None:
    """The finished run whose table `user/15` looks at."""
    if not DEMO.exists():
        strategies = ["-s", "majority_vote:n=1,2", "-s", "sequential_revision:chains=1,rounds=1,2"]
        strategies += ["-s", "first_finish:n=2", "-s", "genrm:verifications=1,n=2"]
        command = [sys.executable, "-m", "tts", "sweep", "chain?size=8&levels=1,3", *strategies, "--out", str(DEMO)]
        subprocess.run([*command, "--max-tokens", "160"], check=True, capture_output=True)


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """What the files of `user/` talk to: a strict server at the port they name, and one that never comes to an end."""
    command = [sys.executable, str(folder / "user" / "fake.py"), "18090"]
    strict = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # where it complains of clients that have left
    try:
        _wait_for(f"{STRICT}/log")
        with FakeEngine(lambda _: Reply(("so",) * 500)) as endless:
            yield {"U": endless.base_url}
    finally:
        strict.terminate()
        strict.wait()


# What a file finds running: here a Ray cluster whose nodes have four CPUs each, and an engine.
BEFORE = {
    "plugin/01-plugin-call.sh": """
        tts() { rm -rf runs; command tts "$@"; }; export -f tts  # its sweeps are of other strategies in one folder
        """,
    "cluster/04-one-full-node.sh": """
        . /tmp/cases/repro/env.sh; export RAY_AUTH_TOKEN=$(printf a%.0s {1..64}); exec 3>&1 > /dev/null
        python -m tts.testing.engine --port 18700 --per-token-s 0.05 & up=$!
        ray start --head --port 26379 --num-cpus 0 --include-dashboard=false --block 2>&1 & up="$up $!"
        until (echo > /dev/tcp/127.0.0.1/26379) 2> /dev/null; do sleep 1; done
        for _ in 1 2; do ray start --address 127.0.0.1:26379 --num-cpus 4 --block 2>&1 & up="$up $!"; done
        until ray status --address 127.0.0.1:26379 | grep -q '/8.0 CPU'; do sleep 1; done
        trap 'kill $up' EXIT; exec >&3
        """,
    "plugin/22-stop-as-a-string.py": """
        sed -i 's/"chat", (), Capabilities/"chat", Capabilities/' 22-stop-as-a-string.py  # the signature of today
        """,
    "user/02-sweep-own-strategy.py": """
        python -m tts.testing.engine --port 18081 > /dev/null 2>&1 & trap "kill $!" EXIT
        until (echo > /dev/tcp/127.0.0.1/18081) 2> /dev/null; do sleep 0.2; done
        """,
    "user/13-mypy-strategy.py": f"""
        make -s -C {ROOT} -o .venv/.ready types
        export MYPYPATH={ROOT}/build/types
        python -m mypy --strict --config-file {ROOT}/pyproject.toml --cache-dir {ROOT}/.mypy_cache 13-mypy-strategy.py
        """,
}


def said_by(folder: Path, name: str, environment: dict[str, str]) -> str:
    """What a file prints, given the arguments that follow its name."""
    file, *arguments = name.split()
    command = [sys.executable, str(folder / file), *arguments]
    if file.endswith(".sh") or file in BEFORE:
        program = "bash" if file.endswith(".sh") else "python"
        command = ["bash", "-c", f"{BEFORE.get(file, '')}\n{program} '{folder / file}'"]
    try:
        done = subprocess.run(
            command,
            cwd=(folder / file).parent,
            env={**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def main(folder: Path, patterns: list[str]) -> int:
    wrong = 0
    with copied(folder) as copy, servers(copy) as environment:
        _make_places(copy)
        for name, right in CASES.items():
            if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns or ["*"]):
                continue
            if name.startswith("user/15"):
                made_demo()
            began_s = time.monotonic()
            said = said_by(copy, name, environment)
            ok = right(said)
            wrong += not ok
            print(f"{'ok   ' if ok else 'WRONG'} {name} ({time.monotonic() - began_s:.0f} s)", flush=True)
            if not ok:
                print("    " + "\n    ".join(said.splitlines()[-12:]), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
