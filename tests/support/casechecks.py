"""What is right for each of the small inputs that `cases.py` runs: a function of what the file prints.

A check asks for the right values in all of the file's lines, not for the absence of wrong ones, because a file that
stops half-way has none. Whether each check fails where the fault is there was tried at ab3c53d, which had all of them.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import tts
from tts.testing.engine import FakeEngine
from tts.testing.replies import arithmetic

Check = Callable[[str], bool]
STRICT = "http://127.0.0.1:18090"  # the server of `user/`


def every(pattern: str, lines: str = "", count: int | None = None) -> Check:
    """Every line that `lines` is found in has the pattern, and there are `count` of them (None: at least one)."""

    def check(said: str) -> bool:
        found = [line for line in said.splitlines() if re.search(lines, line) and line.strip()]
        return (bool(found) if count is None else len(found) == count) and all(
            re.search(pattern, line) for line in found
        )

    return check


def numbers(pattern: str, right: Callable[[list[float]], bool]) -> Check:
    """What the pattern's groups hold, as numbers, is right; and there is something."""

    def check(said: str) -> bool:
        matches = re.finditer(pattern, said, re.MULTILINE)
        found = [float(n) for match in matches for n in match.groups() if n is not None]
        return bool(found) and right(found)

    return check


def has(*parts: str) -> Check:
    """Each part is there."""
    return lambda said: all(part in said for part in parts)


def both(*checks: Check) -> Check:
    return lambda said: all(check(said) for check in checks)


def one_list(said: str) -> bool:
    """All processes print the same classes, and they are those that algebra finds."""
    return set(re.findall(r"\[[\d, ]+\]", said)) == {"[0, 1, 0, 1, 0]"}


def foretold(said: str) -> bool:
    """The pilot's verifications are paid from the budget, as the live run's are, whose accuracy is in the interval that
    the plan gives for the largest budget."""
    planned = re.search(r"by uniform .* (\d+)–(\d+)$", said, re.MULTILINE)
    live = re.search(r"^best_of_n:\S+ +samples=8 +(\S+) % .* (\d+) +\S+ s ", said, re.MULTILINE)
    left = re.search(r"^pilot: (\d+) requests.* left of the budget: samples=(\d+)$", said, re.MULTILINE)
    if planned is None or live is None or left is None:
        return False
    paid = int(left[1]) + int(left[2]) == 120 and int(live[2]) > 0
    return paid and float(planned[1]) <= float(live[1]) <= float(planned[2])


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


def spread(said: str) -> bool:
    """Every replica has as many samples, and the last one ends within 1.2 times of the ideal: the same samples, in the
    same order, each at the slot that is free first. The first line has the start of the library on its clock."""
    shares = re.findall(r"n=(\d+) .*: \[(\d+), (\d+), (\d+), (\d+)\]", said)
    took_s = [float(seconds) for seconds in re.findall(r": (\S+) s; requests", said)]
    ideal_s = [_ideal_s(n) for n in (32, 16)]
    started_s = 0.2  # of a solve that has nothing to wait for
    in_time = [took <= 1.2 * ideal + started_s for took, ideal in zip(took_s[1:], ideal_s, strict=True)]
    return len(shares) == 3 and all(int(a) == int(n) / 4 for n, *of in shares for a in of) and all(in_time)


def _ideal_s(n: int, slots: int = 16, per_token_s: float = 0.1) -> float:
    """When `n` samples of the problem of `cluster/07` would have ended; their seeds depend on nothing else."""
    with FakeEngine(arithmetic(words=12)) as engine:
        sampling = tts.Sampling(max_tokens=512)
        solved = tts.solve("What is 17 + 25?", f"majority_vote:n={n}", base_url=engine.base_url, sampling=sampling)
    free_s = [0.0] * slots
    for candidate in sorted(solved.candidates, key=lambda c: int(c.id.rsplit("/", 1)[1])):
        heapq.heapreplace(free_s, free_s[0] + per_token_s * candidate.tokens)
    return max(free_s)


def grows_little(said: str) -> bool:
    """Neither a thousand actors, nor a thousand endpoints, nor trials that are open cost more than 20 us each."""
    placing, choosing, reading = (
        [float(n) for n in re.findall(pattern, said)]
        for pattern in (r"us/sample (\S+)", r"us/request (\S+)", r"us/search (\S+)")
    )
    counts = (len(placing), len(choosing), len(reading))
    return counts == (4, 3, 3) and all(costs[-1] - costs[0] <= 20 for costs in (placing, choosing, reading))


def one_client(said: str) -> bool:
    """The file shows what ten one-shot calls do; through a client they make one request for the list of models, and
    hold to one budget."""

    async def ten_calls() -> list[Any]:
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


def odd_input(said: str) -> bool:
    """What cannot be read is refused before anything is sent; what a strategy raises is its own error, and the other
    strategy has its answers; odd names do no harm; no secret is written."""
    codes = dict(re.findall(r"^ *(\S.{0,44}?) +rc=(\d+) ", said, re.MULTILINE))
    expected = {"2": "half a surrogate pair", "3": "strategy (that|error)|query", "4": "directory|folder"}
    right = all(
        re.search(expected.get(code, "NUL|again|budgets|same|--out|parameter|password"), name)
        for name, code in codes.items()
    )
    return len(codes) == 19 and right and said.count("s3cret: False sk-MYKEY: False") == 4 and "TRACEBACK" not in said


def outages(said: str) -> bool:
    """The first command stops with an error, and the same command asks for what is missing, once."""
    first = re.findall(r"^(\w+) \| first: rc=3 ", said, re.MULTILINE)
    again = re.findall(r"mended, again: rc=0 .* requests (\d+)$", said, re.MULTILINE)
    return len(first) == 3 and again == ["380"] * 3


CASES: dict[str, Check] = {
    "select/06-plugin-allocator-reason.py": has("300.0 tokens drawn of 300"),
    "select/08-api-consistency.py": every("^ok ", count=15),
    "select/08b-cli-words.sh": both(
        lambda said: said.count("== ") == 9, lambda said: "--budget" not in said.partition("== plan")[2].split("==")[0]
    ),
    "select/12-verifier-params.py": lambda said: not re.search(r"^genrm\(max_tokens=1024\) ->", said, re.MULTILINE),
    "select/13-exhausted-means-two-things.py": both(
        every("exhausted=True ", "^(?!first_finish|single)", count=11), every("error=None", count=13)
    ),
    "select/14-paid-and-not-voted.py": every("answer=2 .*exhausted=True", count=10),
    "select/15-free-scores-not-read.py": every("answer=2 .*scores=3 ", count=3),
    "select/16-exhausted-vote-forgets-equivalence.py": every(r"answer=1/\\sqrt\{2\} paid=5 .* None$", count=3),
    "select/17-own-model-function.py": lambda said: "26 [" in said and "model=callable ->" not in said,
    "select/18-readme-plugin-under-a-budget.py": every(
        "^5 answer 2 paid 5 exhausted False$|^8 answer 2 paid 5 exhausted True$", count=2
    ),
    "select/22-votes-depend-on-load.py 8": every(
        r"limit +\[0, 1, 0, 1, 0\]", count=12
    ),  # 8 processes that only compute
    "plugin/00-look.py": every("^TEXT: .", "^TEXT:", count=4),
    "plugin/01-plugin-call.sh": lambda said: said.count("paid: ") == 3 and "tts:" not in said,
    "plugin/02-preflight-runs-calls-in-process.sh": lambda said: (  # in the rehearsal and, for those that end, live
        "live: CallTimedOut" in said and said.count("live: CallCrashed") == 2 and "exit status 0" in said
    ),
    "plugin/03-nested-problem-ignored.py": every("asked: .'SUB-QUESTION: [^,]*', 'SUB-QUESTION: [^,]*'.$", count=1),
    "plugin/04-model-parameter.py": has("None"),
    "plugin/05-judge-replies-vote.py": every("^answer: [45] ", "^answer:", count=1),
    "plugin/06-two-verifiers.py": has("Solved(result=Result(", "verifier='judge'", "verifier='genrm'", "error=None)"),
    "plugin/07-verifier-of-this-file.sh": lambda said: said.count("paid: ") == 2 and "tts:" not in said,
    "plugin/08-exhaustion-in-gather.py": every(r"^tokens [1-9]\d+, .* cancelled samples 0 ", count=1),
    "plugin/09-stop-or-end.py": lambda said: len(set(re.findall(r"' (\w+ complete \w+) answer", said))) > 1,
    "plugin/10-stream-cost.py": numbers(
        r", (\d+) journal bytes a token \(plain: (\S+)\)",
        lambda n: all(watched <= 2 * plain for watched, plain in zip(n[::2], n[1::2], strict=True)),
    ),
    "plugin/11-no-confidence-in-simulation.py": every(r"^\[-\d+\.\d+(, -\d+\.\d+)+\]$", count=1),
    "plugin/12-tool-role.py": lambda said: " None " in said and "Parameter" not in said,
    "plugin/13-context.py": has("'room'"),
    "plugin/14-nested-open-count.py": every("^picked the hint: c/p/[3-9] ", "^picked", count=1),
    "plugin/16-replay-credits-cut-samples.sh": both(
        every(r" 0\.0 %", "cut:tokens=1 ", count=1), every(r" 2\d\.\d %", r"^single  ", count=1)
    ),
    "plugin/17-nested-fallback.py": every(r"^first answer: (\S+) \| returned: \1 ", count=1),
    "plugin/18-random-in-chains.py": lambda said: len(said.splitlines()) == 3 and len(set(said.splitlines())) == 1,
    "plugin/19-tool-role-on-ray.sh": lambda said: said.count("paid: 2 requests") == 2 and "exit 0" in said,
    "plugin/20-what-the-engine-says-of-stops.py": every("finish: ..stop..$", "stop_type", count=6),
    "plugin/21-continuations-lose-their-endpoint.py": numbers(  # its beams go on in texts that no endpoint generated
        r"\((\d+)%\)$", lambda moved: max(moved[:2]) <= 10 and max(moved[2:]) <= 25
    ),
    "plugin/22-stop-as-a-string.py": has("['END']", "'2+3=5\\n'"),
    "plugin/23-preflight-helpers.sh": lambda said: (
        said.count("paid: ") == 1 and "RunMismatch" in said and "helper_mod.py" in said
    ),
    "plugin/24-tree-overhead.py": every(r"requests, \d+ us each$", count=10),
    "plugin/25-system-turn.py": every(r"^\[\('user', 'Is 4 right[^']*'\)\]$", count=1),
    "hostile/09-odd-input.sh": odd_input,
    "hostile/01-usage-zero-endless.py": numbers(
        r"ended: (\d+) requests.*?tokens=(\d+)", lambda n: n == [18, 936]
    ),  # a token a word: the last chunk has two
    "hostile/02-usage-lies.py": every(
        r"6 requests, spent 132 lost 0 overrun 0 answer 4 exhausted False", "attempt", count=16
    ),
    "hostile/05-cancel-big-chunks.py": numbers(
        r"booked (\d+) overrun (\d+) .* >= (\d+)", lambda n: n[2] <= n[0] <= 8000 and n[1] == 0
    ),
    "hostile/07-server-text-kills-run.py": every(r"30/30 decided, 30 requests; errors: \[\]", count=18),
    "hostile/03-overloaded-in-stream-usd.py": numbers(
        r"limit 4300 usd, spent (\S+) overrun (\S+)", lambda usd: 0 < usd[0] <= 4300 and usd[1] == 0
    ),
    "hostile/04-retries-500-usd.py": numbers(
        r"limit 8600 usd, spent (\S+) overrun (\S+) answer 4 ", lambda usd: 3902 < usd[0] <= 8600 and usd[1] == 0
    ),
    "hostile/12-outage-is-final.py": outages,
    "hostile/13-three-torn-streams-stop-the-run.py": every("done 100 of 100", "streams cut", count=2),
    "hostile/14-poison-429.py": numbers(r"poison -> ended .* \{'ok': (\d+)", lambda ok: ok == [796]),
    "hostile/10-same-budget-twice.py": every(
        "rc=0 .*decided records 6 of 12 planned, distinct 6; grants (\\d+), distinct ids \\1 ", count=8
    ),
    "hostile/08-report-runs-code.py": every("rc [0-4] .*code executed: False", count=4),
    "hostile/15-terminal-escapes.py": every("False(?!.*True)", count=2),
    "hostile/16-infinite-loop-no-ctrl-c.py": every("ended rc 130$", count=2),
    "hostile/17-reference-in-reach.py": both(
        every(
            r"<member 'ref|No such file|'refused: (InvalidParameter|CallFailed)'$|classes: '\[0\]'$|environment: None$"
        ),
        every("", "^(run.call|verifier in a worker)", count=6),
    ),
    "hostile/18-run-call-own-function.py": every("rc=0 (?!.*TRACEBACK)", count=4),
    "hostile/19-grader-error-swallowed.py": both(
        every("^rc 3 .*outcomes 40 of 40", count=1), has(" 2 of 40 trials have no answer because of errors")
    ),
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
    "user/00-grading-pairs.py": both(every("-> (True|False|None) exp=", count=81), every(r"^(?!.*(<<<<|REFUSED))")),
    "user/01-matrix-rows.py": every("^ok  .* ref ok$", r" \| ", count=10),
    "user/02-sweep-own-strategy.py": lambda said: said.count("SweepResult(") == 3 and said.count("Error") == 0,
    "user/03-truncated-silent.sh": lambda said: "rc 0" in said and "4 of 4 samples were cut" in said,
    "user/04-letters.py": every("^ok ", count=32),
    "user/05-service.py": one_client,
    "user/06-refusals-every-call.py": both(  # 10 samples, and each of 5 parameters found out once
        numbers(r" (\d+) POST", lambda posts: len(posts) == 2 and max(posts) <= 15), has("('temperature',)")
    ),
    "user/07-budget-underspent.sh": lambda said: said.count("% of the budget was left") == 2 and " are left" in said,
    "user/08-extract-auto.py": every("^0 wrong", "wrong$"),
    "user/09-display-math.py": both(
        every(r"vote as \[0, 1, 2, 3\]", "vote as", count=1), every("^'(42|0.75|3,5)' ", r"' \| ['\"]", count=10)
    ),
    "user/10-vote-matrix.py": every(r"exact: \[0, 1, 2, 3\] math: \[0, 1, 2, 3\]", "exact", count=1),
    "user/11-ci.py": numbers(
        r"shown (\d+)–(\d+)",
        lambda ends: len(ends) == 8 and all(a < b for a, b in zip(ends[::2], ends[1::2], strict=True)),
    ),
    "user/12-extend-run.sh": lambda said: (  # pays 12 more for n=8, 12 for the seed, 8 for two problems
        said.count("rc 0") == 3 and re.findall(r"paid: (\d+) requests", said) == ["24", "36", "44", "24"]
    ),
    "user/13-mypy-strategy.py": lambda said: "Success" in said and "error" not in said,
    "user/14-false-right.py": every("graded right: 0/60.*graded wrong: 0/60"),
    "user/15-table-80-columns.sh": table_of_80,
    "wire/01-usage-zero.py": every(r": 6[46] requests, .* booked (1920|1980)$", count=4),
    "wire/02-matrix-rows.py": every("^ok ", count=6),
    "wire/03-pool-short-answers.py": both(
        every(r"majority_vote:n=5', 1\.0", "majority_vote", count=1),
        has("samples 12 answers 12 ", "samples 20 answers 20 "),
    ),
    "wire/05-neutral-values-refused.py": every("answer='42'.*error=None", count=8),
    "wire/09-raw-exceptions.py": raw_exceptions,
    "wire/10-base-url.py": every(" ok  '42'", count=6),
    "wire/11-letters.py": every("^ok ", count=21),
    "wire/16-pool-files.py": pool_files,
    "wire/17-streams-of-the-process.sh": lambda said: said.count("rc 0") == 2 and "report.html" in said,
    "wire/15-proxy.py": proxies,
    "wire/04-finish-on-every-chunk.py": every(
        r"1 requests.*answer='42' .*Let me think\. 30 plus 12\. Answer: 42', 'stop'.*error=None", count=4
    ),
    "wire/06-sse-empty-data.py": every(r"^.*1 requests.*answer='42'.*error=None", count=7),
    "wire/07-half-an-emoji.py": every(r"1 requests.*answer='42( \ufffd| a)' .*error=None|^pool: 2 samples", count=4),
    "wire/08-chunk-shapes.py": every(r"1 requests.*answer='42'.*'Answer: 42', 'stop'.*error=None", count=13),
    "wire/13-refusal.py": every(r"1 requests.*answer=None tokens=[168] .*'content_filter'\)\] error=None", count=3),
    "wire/14-spellings.py": every("^ok ", count=19),
    "cluster/03-engine-restart.py 1 5": lambda said: (
        said.count("run: rc 0") + said.count("again: rc 0") == 2 and said.count("'failed': 0, ") == 2
    ),
    "cluster/07-siblings-on-one-replica.py": spread,
    "cluster/08-fleet-real-against-replay.py": numbers(
        r"real: (\S+) s|(\S+) s +100$", lambda found: abs(found[0] / found[1] - 1) < 0.1
    ),
    "cluster/10-leader-waits.py": numbers(r":n=8 (\d+\.\d+) s", lambda seconds: max(seconds) < 9),
    "cluster/11-race-has-a-head-start.py": numbers(r"wins (\d+) of 60", lambda wins: max(wins) < 20),
    "cluster/01-two-sweeps-one-namespace.py": every(r"^\(\d, 'ok', \[\(0\.8333", r"^\(\d", count=2),
    "cluster/02-kill9-local-driver-leftovers.sh": both(every("^before: [1-9]", "^before", count=1), has("s: 0 alive")),
    "cluster/04-one-full-node.sh": every("^rc 0", "^rc"),
    "cluster/05-inside-serve-and-tune.py tune": every(r"^{'n': \d} [01]\.\d+ None None$", "^{'n'", count=6),
    "cluster/05-inside-serve-and-tune.py serve": every(r"^(async \('\d+', \d+\)|sync 7) ", "^(async|sync) ", count=7),
    "cluster/06-poison.py Poison": every("of the poisoned problem: 4 innocent: 0", "^failed for good"),
    "cluster/09-two-threads-one-program.py": every(
        r"('ok'.*){3}still running: \[False, False, False\]", "still running", count=1
    ),
    "cluster/12-driver-costs-by-actors-and-open-searches.py": grows_little,
    "cluster/14-ctrl-c-during-start.py": numbers(
        r"ended (\d+\.\d+) s later; [1-9]", lambda s: len(s) == 3 and max(s) < 10
    ),
    "wire/12-ray-two-threads.py": every("^(init|connected, users=[12]|users 2 .2 are connected.)$"),
    "wire/12-ray-two-threads.py real": every(r"^\['42', '42'\]$", r"^\['", count=1),
    "advice/01-first-finishers-ties.py": numbers(
        r"(?:n=2|shortest|replay): (\S+)",
        lambda shares: len(shares) == 6 and all(abs(share - 0.5) < 0.1 for share in shares),
    ),
    "advice/02-plan-verification-free.sh": foretold,
    "advice/03-answers-nobody-votes.py": every(
        "^tts.errors.PoolLacks: no sample of x has an answer", "Lacks:", count=1
    ),
    "advice/04-advice-in-noise.py": numbers(r"recommended in (\d+) of 20", lambda found: found[0] <= 2),
}


# The words of today that a file does without, because it was written before them.
WANTED = {
    "select/08-api-consistency.py": "objects wherever text is taken, and one word for one thing in all calls",
    "select/12-verifier-params.py": "parameters of a verifier in a spec",
    "select/17-own-model-function.py": "a function as the model",
    "plugin/05-judge-replies-vote.py": "`run.ask`, which it does not use",
    "plugin/10-stream-cost.py": "an event a token, which it makes itself: runs write one for 64 (core/watching.md)",
    "plugin/17-nested-fallback.py": "`run.solve`, which it does not use",
}
