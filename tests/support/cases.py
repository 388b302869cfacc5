"""Small inputs that once failed, kept outside of the repository, and whether each gives the right result now.

    python tests/support/cases.py FOLDER [PATTERN ...]        prints one line a file; exits with 1 unless all are ok

FOLDER holds the files (each prints what it found, and says in its first lines what is right); a PATTERN such as
`select/*` takes some of them. `casechecks.py` says what is right for each. A line begins with one of

    ok         the file printed what is right
    WRONG      it did not; its last lines follow, and all of them are in /tmp/cases/said
    wanted     it did not, because it says in older words what the line names, and what today's words get right
    not run    something that it needs is missing here, which the line names

The tests state the same laws on inputs of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casechecks import CASES, STRICT, WANTED, Check
from casenames import renamed

from tts.testing.engine import FakeEngine
from tts.testing.replies import Reply

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = float(os.environ.get("CASES_LIMIT_S", "1200"))  # seconds for a file
PLACE = Path("/tmp/cases")  # the files name it
DEMO = PLACE / "demo" / "demo-run"

# What a file finds missing on some machines: a package (by the module that it is imported as), a program, a right.
NEEDS = {
    "advice/*": ("module pyarrow",),
    "cluster/02*": ("program curl",),
    "cluster/05*serve": ("module ray.serve", "module fastapi", "module starlette"),
    "cluster/05*tune": ("module pandas", "module pyarrow", "module fsspec", "module tensorboardX", "module requests"),
    "cluster/08*": ("module pyarrow",),
    "hostile/08*": ("module pyarrow",),
    "hostile/11*": ("root",),
    "hostile/26*": ("program curl",),
    "plugin/*": ("module xllamacpp", "module pyarrow"),
    "select/16*": ("module math_verify",),
    "select/22*": ("module math_verify",),
    "user/0[01]*": ("module math_verify",),
    "user/1[04]*": ("module math_verify",),
    "user/13*": ("module mypy", "program make"),
    "user/15*": ("program tmux", "module xllamacpp"),
    "wire/02*": ("module math_verify",),
    "wire/03*": ("module pyarrow",),
    "wire/14*": ("module math_verify",),
    "wire/16*": ("module pyarrow",),
    "wire/17*": ("module xllamacpp", "module vl_convert"),
}


@contextmanager
def alone() -> Iterator[None]:
    """Nobody else runs the files meanwhile: they share a folder and ports."""
    PLACE.mkdir(exist_ok=True)
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
        for path in [*copy.rglob("*.py"), *copy.rglob("*.sh")]:
            path.write_text(renamed(path.read_text()))
        _give_problems(Path(scratch) / "duel")
        yield copy


def _make_places(copy: Path) -> None:
    """Where the files write, empty, and where they look for what they need: what an earlier run has left there would be
    taken up, and tried nothing."""
    for old in PLACE.iterdir():
        if old.name not in ("lock", "said"):
            old.unlink() if old.is_symlink() or old.is_file() else shutil.rmtree(old)
    for name in ("out", "work", "home", "p", "said"):
        (PLACE / name).mkdir(exist_ok=True)
    (PLACE / "repro").symlink_to(copy / "cluster")
    (PLACE / "p/.venv").symlink_to(sys.prefix)


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


def make_demo() -> None:
    """The finished run whose table `user/15` looks at."""
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


# Ends with the error that is right.
ENDS_IN_ERROR = {"advice/03-answers-nobody-votes.py"}

# What a file finds running: here a Ray cluster whose nodes have four CPUs each, and an engine.
BEFORE = {
    "plugin/01-plugin-call.sh": """
        tts() { rm -rf runs; command tts "$@"; }; export -f tts  # its sweeps are of other strategies in one folder
        """,
    "cluster/04-one-full-node.sh": """
        . /tmp/cases/repro/env.sh; export RAY_AUTH_TOKEN=$(printf a%.0s {1..64}); exec 3>&1 > /dev/null
        trap 'kill $up' EXIT
        python -m tts.testing.engine --port 18700 --per-token-s 0.05 & up=$!
        ray start --head --port 26379 --num-cpus 0 --include-dashboard=false --block 2>&1 & up="$up $!"
        until (echo > /dev/tcp/127.0.0.1/26379) 2> /dev/null; do sleep 1; done
        for cpus in 4 8; do  # one after the other: two that start at once may take the same ports
            ray start --address 127.0.0.1:26379 --num-cpus 4 --block 2>&1 & up="$up $!"
            tries=0
            until ray status --address 127.0.0.1:26379 2> /dev/null | grep -q "/$cpus.0 CPU"; do
                sleep 1; tries=$((tries + 1))
                [ $tries -lt 60 ] || { echo "not run: its Ray cluster did not reach $cpus CPUs" >&3; exit; }
            done
        done
        exec >&3
        """,
    "hostile/19-grader-error-swallowed.py": """
        sed -i 's/"sum-0", //' 19-grader-error-swallowed.py  # the rehearsal asks it, and so refuses the strategy
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


def _missing(need: str) -> bool:
    kind, _, name = need.partition(" ")
    if kind == "module":
        try:
            return importlib.util.find_spec(name) is None
        except ModuleNotFoundError:  # of what it is a part of
            return True
    return os.geteuid() != 0 if kind == "root" else shutil.which(name) is None


def missing(name: str) -> list[str]:
    """What a file needs and this machine lacks, each as `module NAME`, `program NAME` or `root`."""
    needs = (need for pattern, needs in NEEDS.items() if fnmatch.fnmatch(name, pattern) for need in needs)
    return [need for need in needs if _missing(need)]


def said_by(folder: Path, name: str, environment: dict[str, str]) -> tuple[str, bool]:
    """What a file prints, given the arguments that follow its name, and whether it came to its end."""
    file, *arguments = name.split()
    command = [sys.executable, str(folder / file), *arguments]
    if file.endswith(".sh") or file in BEFORE:
        program = "bash" if file.endswith(".sh") else "python"
        command = ["bash", "-c", f"{BEFORE.get(file, '')}\n{program} '{folder / file}'"]
    kept = PLACE / "said" / f"{name.replace('/', '-').replace(' ', '_')}.txt"
    with kept.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=(folder / file).parent,
            env={**os.environ, **environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            ended = process.wait(LIMIT_S) == 0 or file.endswith(".sh")  # a shell's status is that of its last command
        except subprocess.TimeoutExpired:
            ended = False
        finally:
            _end_group(process)
    return kept.read_text(errors="replace"), ended


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Whatever the file has started and left; what it has set a trap for ends its own processes first."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def looked_at(name: str, copy: Path, environment: dict[str, str]) -> tuple[str, str]:
    """What the line of a file says: how it ended and why, and what it printed last."""
    if lacks := missing(name):
        return f"not run {name}: {', '.join(lacks)} missing", ""
    _make_places(copy)
    if name.startswith("user/15"):
        make_demo()
    began_s = time.monotonic()
    said, ended = said_by(copy, name, environment)
    took = f"{name} ({time.monotonic() - began_s:.0f} s)"
    if unable := re.search("^not run: (.*)$", said, re.MULTILINE):
        return f"not run {name}: {unable[1]}", ""
    ended = ended and "Traceback (most recent call last)" not in said
    if ended != (name in ENDS_IN_ERROR) and is_right(CASES[name], said):
        return f"ok      {took}", ""
    if name in WANTED:
        return f"wanted  {took}: {WANTED[name]}", ""
    return f"WRONG   {took}" + ("" if ended else ", and it did not come to its end"), said


def is_right(check: Check, said: str) -> bool:
    try:
        return check(said)
    except (ValueError, LookupError, StopIteration):  # lines that it looks for are not there
        return False


def main(folder: Path, patterns: list[str]) -> int:
    # A shell has it ignored in what it runs in the background, and then so would everything that the files start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lines = []
    with alone(), copied(folder) as copy, servers(copy) as environment:
        for name in CASES:
            if any(fnmatch.fnmatch(name, pattern) for pattern in patterns or ["*"]):
                line, said = looked_at(name, copy, environment)
                print("\n    ".join([line, *said.splitlines()[-12:]]), flush=True)
                lines.append(line)
    counts = Counter(line[:8].strip() for line in lines)
    print(f"{len(lines)} lines: " + ", ".join(f"{count} {word}" for word, count in counts.items()))
    return 0 if set(counts) == {"ok"} else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
