"""The lookup world: keys that lead to other keys (names to numbers, numbers to places, places to names), which only a
tool can see, and a calculator. The problems of the source `lookup` have their world in `facts`.

For `Run.call`, `called` answers one call; for `Run.session`, `Lookup` is the same world with a `step`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tts.messages import Tool
from tts.toolkit.environments.calculator import CALCULATOR, calculate

KEY = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
LOOKUP = Tool("lookup", "Where a key leads to.", KEY)
TOOLS = (LOOKUP, CALCULATOR)


def called(links: Mapping[str, str], name: str, arguments: Mapping[str, Any]) -> str:
    """The result of one call: the key that `key` leads to, or the value of `expression`; else the reason why there is
    none, for the model.

    Args:
        links: the world, key by key: `problem.facts["links"]`.
        name, arguments: of the call.
    """
    match name, arguments:
        case "lookup", {"key": key}:
            return links.get(str(key), f"Error: there is no key {key}.")
        case "calculate", {"expression": expression}:
            return calculate(str(expression))
    return "Error: call lookup with a key, or calculate with an expression."


class Lookup:
    """The world of one problem as a session. Args: links: as for `called`."""

    def __init__(self, links: Mapping[str, str]) -> None:
        self._links = links

    def step(self, action: Mapping[str, Any]) -> str:
        """The result of a call, `{"name": "lookup", "arguments": {"key": "Ada"}}`."""
        return called(self._links, action["name"], action["arguments"])
