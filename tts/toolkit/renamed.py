"""Earlier names of a strategy's parameters, which are still read for one release."""

import warnings
from typing import TypeVar

T = TypeVar("T")


def renamed(earlier: str, name: str, given: T | None, value: T) -> T:
    """The value of the parameter `name`: `given` under its `earlier` name, with a warning, or else its own `value`."""
    if given is None:
        return value
    warnings.warn(f"the parameter {earlier} is called {name} now: write {name}={given}", FutureWarning, stacklevel=2)
    return given
