"""The script that makes a page's charts live: Vega, Vega-Lite and vega-embed in one (extra `report`).

To bundle it takes two seconds of CPU time and 80 MB of memory, and the result depends on versions alone: it is kept in
the cache folder. Where that cannot be written, it is bundled once a process.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tts.models.weights import cache_folder

_END = "\n/* the end: this file is whole */\n"


@cache
def embed_script(vega_lite: str) -> str:
    """JavaScript that sets `window.vegaEmbed`, safe inside a `<script>` element.

    Args:
        vega_lite: the version of Vega-Lite, as `6.1`.
    """
    import vl_convert

    path = _file(f"vega-embed-{vega_lite}-{version('vl-convert-python')}.js")
    script = _read(path)
    if script is None:
        script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vega_lite).replace(
            "</script", "<\\/script"
        )
        _keep(path, script)
    return script


def _file(name: str) -> Path | None:
    """The script's file in the cache folder; None for a user without a home."""
    try:
        return cache_folder() / name
    except RuntimeError:
        return None


def _read(path: Path | None) -> str | None:
    """Read the kept script; None if there is none, or it is not whole."""
    if path is None:
        return None
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return text.removesuffix(_END) if text.endswith(_END) else None


def _keep(path: Path | None, script: str) -> None:
    """Keep the script for the next process. Readers see no file or a whole one; errors of writing are ignored."""
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        number, beside = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with open(number, "w", encoding="utf-8") as file:
                file.write(script + _END)
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
