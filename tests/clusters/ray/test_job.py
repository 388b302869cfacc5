"""`ray job submit`, for real: a head with a dashboard and a token, a checkout and a wheel, the model in process."""

import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tts.clusters.ray.environment import ENVIRONMENT
from tts.core.actions import Finished, Scored
from tts.core.journal.history import History
from tts.core.journal.records import Decided, Granted, Header, Opened, Record
from tts.runs.folder import read_records

ROOT = Path(__file__).resolve().parents[3]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
PARTS = ["pyproject.toml", "README.md", "LICENSE", "tts", "strategies", "clusters"]

pytestmark = pytest.mark.system


class Head:
    """A Ray of two CPUs and its dashboard, started as on a cluster."""

    def __init__(self, folder: str) -> None:
        # No RAY_ variable of this process and no server to ask: what the head has, its jobs have.
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "OPENAI_"))}
        self.token = secrets.token_hex(32)
        self.environment = {**plain, **ENVIRONMENT, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        port, unused = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = ["--head", "--block", "--num-cpus=2", "--port=0", f"--dashboard-port={port}", f"--temp-dir={folder}"]
        options += ["--dashboard-agent-listen-port=0", f"--ray-client-server-port={unused}"]
        options += ["--min-worker-port=0", "--max-worker-port=0"]  # or it would take 10002 to 19999 for its own
        self._log = Path(folder) / "head.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [*RAY, "start", *options],
                cwd=folder,  # jobs without a folder of their own run where their head does: not in this checkout
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        def answers() -> bool:
            assert self._process.poll() is None, self._log.read_text()
            with contextlib.suppress(OSError):
                return isinstance(self.ask("/api/jobs/"), list)
            return False

        _wait(answers, self._log.read_text)

    def ask(self, path: str, method: str = "GET") -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=300) as reply:
            return json.load(reply)

    def submit(self, id: str, tts: list[str], *options: str) -> str:
        """What `ray job submit` prints; without `--no-wait` it waits for the end of the job."""
        command = [*RAY, "job", "submit", "--address", self.url, "--submission-id", id, *options]
        command += ["--", sys.executable, "-m", "tts", *tts]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def status(self, id: str) -> str:
        return str(self.ask(f"/api/jobs/{id}")["status"])

    def stop(self) -> None:
        """End this Ray and no other: `ray stop` would end all of this user's."""
        self._process.terminate()
        try:
            self._process.wait(45)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    assert importlib.util.find_spec("aiohttp_cors"), "`ray job submit` needs ray[default]"
    # Not pytest's folder: the paths of Ray's sockets must stay under 107 characters.
    with tempfile.TemporaryDirectory(prefix="tts-job-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        head = Head(folder)
        try:
            head.wait_until_ready()
            yield head
        finally:
            head.stop()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return _copy_of_the_checkout(tmp_path / "checkout")


def sweep(out: Path, problems: str, cluster: str, *more: str) -> list[str]:
    given = ["sweep", problems, "--strategy", "majority_vote:n=2", "--max-tokens", "16", "--cluster", cluster]
    return [*given, "--out", str(out), *more]


def records_of(out: Path) -> list[Record]:
    return list(read_records(out / "journal.jsonl"))


def check_whole(out: Path, problems: int, strategies: int) -> list[Record]:
    """The run is complete, by its journal and by what was written from it."""
    records = records_of(out)
    trials = [record.trial for record in records if isinstance(record, Opened)]
    decided = [record.trial for record in records if isinstance(record, Decided)]
    assert len(set(trials)) == problems * strategies
    assert sorted(decided) == sorted(set(trials))
    history = History(records)
    assert not history.granted
    assert not history.opened
    outcomes = [json.loads(line) for line in (out / "outcomes.jsonl").read_text().splitlines()]
    assert len(outcomes) == problems * strategies
    assert (out / "report.html").is_file()
    return records


VERIFIER = '''
"""A verifier that was never installed anywhere."""

import tts
from tts.types import Score


class WhereIAm:
    kind, candidate_logprobs, in_worker = "scale", 0, False

    def request(self, problem, candidate):
        return None

    def read(self, completion):
        raise NotImplementedError

    def score(self, problem, candidate):
        return Score(1.0, "where_i_am", self.kind, text=tts.__file__)
'''


def test_a_job_from_a_checkout_runs_the_code_that_was_sent(head: Head, checkout: Path, tmp_path: Path) -> None:
    (checkout / "mine.py").write_text(VERIFIER)
    example = (checkout / "clusters" / "launch" / "cluster.yaml").read_text()
    (checkout / "small.yaml").write_text(re.sub(r"\b(count|cpus): \d+", r"\1: 1", example))
    out = tmp_path / "run"
    mine = ["--strategy", "best_of_n:n=2,verifier=mine.py:WhereIAm"]
    command = sweep(out, "arithmetic?size=3&seed=7", "small.yaml", *mine)
    said = head.submit("checkout", command, "--working-dir", str(checkout))
    assert head.status("checkout") == "SUCCEEDED"
    assert "majority_vote:n=2" in said
    records = check_whole(out, problems=3, strategies=2)
    places = {record.score.text for record in records if isinstance(record, Scored)}
    (place,) = places  # an actor's: Ray's copy of the folder, not the checkout that is installed here
    assert place.endswith("/tts/__init__.py")
    assert "working_dir_files" in place


def test_a_job_from_a_wheel_that_was_stopped_goes_on_where_it_was(head: Head, checkout: Path, tmp_path: Path) -> None:
    project = checkout / "pyproject.toml"
    project.write_text(re.sub(r'^version = "(.+)"$', r'version = "\1+job"', project.read_text(), flags=re.MULTILINE))
    target = _installed(checkout, tmp_path)
    out = tmp_path / "run"
    # One request at a time: there is a middle in which to stop it.
    command = sweep(out, "arithmetic?size=20&seed=7", "ray", "--concurrency", "1")
    options = ["--runtime-env-json", json.dumps({"env_vars": {"PYTHONPATH": str(target)}})]

    head.submit("first", command, *options, "--no-wait")
    _wait(lambda: _samples(out) > 0, lambda: str(head.ask("/api/jobs/first/logs")))
    head.ask("/api/jobs/first/stop", "POST")
    _wait(lambda: head.status("first") not in ("PENDING", "RUNNING"), lambda: head.status("first"))
    assert head.status("first") == "STOPPED"
    before = records_of(out)
    paid_before = {record.id for record in before if isinstance(record, Finished)}
    assert 0 < len(paid_before) < 40

    head.submit("again", command, *options)
    assert head.status("again") == "SUCCEEDED"
    records = check_whole(out, problems=20, strategies=1)
    assert records[: len(before)] == before
    assert not paid_before & {record.id for record in records[len(before) :] if isinstance(record, Granted)}
    finished = Counter(record.id for record in records if isinstance(record, Finished))
    assert (len(finished), set(finished.values())) == (40, {1})
    (header,) = [record for record in records if isinstance(record, Header)]
    assert header.program.endswith("+job"), "it was not the wheel that ran"  # nor would actors of another be accepted


def test_who_has_no_token_is_turned_away(head: Head) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{head.url}/api/jobs/", timeout=300)
    with refusal.value as reply:
        assert reply.status == 401


def _copy_of_the_checkout(folder: Path) -> Path:
    folder.mkdir()
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def _installed(checkout: Path, folder: Path) -> Path:
    """The wheel of a checkout, in a folder of its own, without what it depends on."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(checkout)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    target = folder / "target"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    assert (target / "tts" / "clusters" / "ray" / "cluster.py").is_file()
    return target


def _samples(out: Path) -> int:
    """How many there are so far."""
    try:
        return sum(isinstance(record, Finished) for record in records_of(out))
    except FileNotFoundError:
        return 0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _wait(until: Callable[[], bool], why_not: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + 400  # a busy machine takes minutes to start a Ray
    while not until():
        assert time.monotonic() < deadline_s, why_not()
        time.sleep(0.1)
