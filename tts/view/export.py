"""One file that shows a run without a server: the page, its scripts, and the data that it would ask for."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from urllib.parse import quote

import msgspec

from tts.api.arguments import as_path
from tts.api.sync import synchronous
from tts.errors import InvalidParameter
from tts.runs.folder import write_atomically
from tts.view.grading import Grader
from tts.view.opening import View, opened
from tts.view.schema import Grid, Overview, TrialShown

PAGE = Path(__file__).parent / "page"
MEGABYTES = 20.0  # by default: what browsers and mail programs take
_MOST_MISSED = 20  # parts in a row for which there was no room, after which no more are read
_POLICY = (
    "default-src 'none'; script-src '{script}'; style-src '{style}'; img-src data:; base-uri 'none'; "
    "form-action 'none'; require-trusted-types-for 'script'"
)
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
_SAFE = "-_.!~*'()"  # as encodeURIComponent leaves it

Data = dict[str, bytes]  # path -> JSON


def address(page: str, **values: str) -> str:
    """The path by which the page asks: each value as JavaScript's `encodeURIComponent` writes it."""
    query = "&".join(f"{name}={quote(value, safe=_SAFE)}" for name, value in values.items())
    return f"/api/{page}{'?' if query else ''}{query}"


async def aexport_page(path: str | Path, file: str | Path, *, megabytes: float = MEGABYTES) -> Path:
    """Write one HTML file that shows a run or a pool without a server: `tts view --export`.

    Args:
        path: a run folder, finished or not, or a pool.
        file: written as a whole, or left as it was.
        megabytes: size of the file, at the most: cells and the heat map come first, then comparisons, and problems with
            their trials and texts; the page says what was left out.

    Returns: the file. Raises: InvalidParameter for a path that is no run, or a size that is not above 0; RunError,
        StorageFull.
    """
    path, file = as_path(path, "path"), as_path(file, "file")
    if not megabytes > 0:
        raise InvalidParameter(f"megabytes must be above 0, but got {megabytes}", name="megabytes")
    view = await asyncio.to_thread(opened, path)
    if view is None:
        raise InvalidParameter(f"there is no run at {path} yet", path=str(path))
    if not file.parent.is_dir():
        raise InvalidParameter(f"there is no folder {file.parent} for {file.name}", path=str(file))
    write_atomically(file, page_with(await data_of(view, megabytes)))
    return file


export_page = synchronous(aexport_page)


class _Room:
    """What is in the file, and the bytes that are left for more.

    Attributes:
        missed: in a row, parts for which there was no room.
    """

    def __init__(self, size: float) -> None:
        self.left = size
        self.missed = 0
        self.data: Data = {}

    def put(self, part: Data, most: float | None = None) -> bool:
        """Put all of a part in, or nothing where it has more than `most` bytes, or than are left."""
        size = sum(len(path) + len(value) for path, value in part.items())
        if size > (self.left if most is None else min(self.left, most)):
            self.missed += 1
            return False
        self.missed = 0
        self.left -= size
        self.data |= part
        return True


async def data_of(view: View, megabytes: float = MEGABYTES) -> Data:
    """What the page asks for: the cells and the heat map, and as many comparisons, problems and trials with their texts
    as fit into the size; the overview says what was left out."""
    async with Grader(view.path) as grader:
        view.learn(await grader.verdicts(view.ungraded()))
        overview, grid = view.overview(), view.grid()
        room = _Room(megabytes * 2**20 - len(msgspec.json.encode(overview)))
        room.put({"/api/grid": msgspec.json.encode(grid)}, most=float("inf"))
        compared, pairs = _put_comparisons(view, overview, room), len(overview.cells) * (len(overview.cells) - 1)
        trials = await _put_trials(view, grid, room, grader)
    left_out = {"trials": overview.trials - trials, "comparisons": pairs - compared}
    room.data["/api/overview"] = msgspec.json.encode(_noted(overview, left_out, megabytes))
    return room.data


def _put_comparisons(view: View, overview: Overview, room: _Room) -> int:
    """The comparisons of all pairs of cells, in a quarter of the room; returns their number."""
    until, count = room.left * 3 / 4, 0
    for a, b in permutations((cell.id for cell in overview.cells), 2):
        count += room.put({address("compare", a=a, b=b): msgspec.json.encode(view.compare(a, b))}, room.left - until)
        if room.missed:
            break
    return count


async def _put_trials(view: View, grid: Grid, room: _Room, grader: Grader) -> int:
    """The problems with their trials; returns the number of trials that are decided."""
    count, room.missed = 0, 0
    for problem in grid.problems:
        page = view.problem(problem.id)
        if not room.put({address("problem", id=problem.id): msgspec.json.encode(page)}):
            continue
        for row in (trial for cell in page.cells for trial in cell.trials):
            if room.missed > _MOST_MISSED:
                return count
            shown = view.trial(row.id)
            if verdicts := await grader.verdicts(view.ungraded(shown)):
                view.learn(verdicts)
                shown = view.trial(row.id)
            count += room.put(_part(view, shown)) and row.state != "open"
    return count


def _part(view: View, shown: TrialShown) -> Data:
    """A trial, with the texts of all its requests."""
    found = {address("trial", id=shown.id): msgspec.json.encode(shown)}
    for id in (*(candidate.id for candidate in shown.candidates), *(each.id for each in shown.verifications)):
        found[address("text", id=id)] = msgspec.json.encode(view.text(id))
    return found


def _noted(overview: Overview, left_out: Mapping[str, int], megabytes: float) -> Overview:
    """The overview of a file, which is of a moment, with a note on what is not in it."""
    parts = [f"{count:,} {what}" for what, count in left_out.items() if count > 0]
    note = f"this file was to have {megabytes:g} MB: {' and '.join(parts)} are not in it; tts view shows all"
    return msgspec.structs.replace(overview, live=False, notes=[*overview.notes, *([note] if parts else [])])


def page_with(data: Data) -> bytes:
    """The page with its style, its scripts and these data in one file, under a policy that lets nothing else run."""
    html, style = ((PAGE / name).read_text("utf-8") for name in ("index.html", "style.css"))
    script = bundled("main.js")
    held = b"{" + b",".join(b"%b:%b" % (msgspec.json.encode(path), value) for path, value in data.items()) + b"}"
    policy = _POLICY.format(script=_hash(script), style=_hash(style))
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    html = _once(html, r"<head>\n", f"<head>\n{meta}\n")
    html = _once(html, r'<link rel="stylesheet" href="(?:page/)?style\.css">', f"<style>{style}</style>")
    before, after = re.split(r'<script type="module" src="(?:page/)?main\.js"></script>', html)
    return b"".join((
        before.encode(), b'<script type="application/json" id="export">', _unobeyed(held), b"</script>\n",
        f'<script type="module">{script}</script>'.encode(), after.encode(),
    ))  # fmt: skip


def _once(html: str, pattern: str, instead: str) -> str:
    found, count = re.subn(pattern, lambda _: instead, html)
    assert count == 1, f"index.html has {count} times {pattern}"
    return found


def _unobeyed(data: bytes) -> bytes:
    """JSON in which nothing can end the element that holds it, or be taken for markup; of the same value."""
    data = data.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")
    return data.replace("\u2028".encode(), b"\\u2028").replace("\u2029".encode(), b"\\u2029")


def bundled(name: str) -> str:
    """A script of the page and all that it imports, in one: each file once, after those that it needs. The files import
    by `import { a, b } from "./name.js";` alone, and no two have a name in common."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        text = (PAGE / name).read_text("utf-8")
        done[name] = ""
        for needed in _IMPORT.findall(text):
            add(needed)
        del done[name]
        done[name] = re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE)

    add(name)
    return "\n".join(done.values())


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
