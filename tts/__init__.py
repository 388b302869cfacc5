"""Turn a budget of tokens into the best answers a model can give.

    solved = tts.solve("What is 17 + 25?", "majority_vote:n=8", budget="tokens=2k")
    result = tts.sweep("problems.jsonl", ["single", "best_of_n:n=2,4,8"], out="runs/first")

Everything is imported when it is first used: `import tts` costs milliseconds.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A checkout keeps strategies/ and clusters/ beside tts/; a wheel keeps them inside.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "strategies").is_dir():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from tts.api import asolve, asweep, solve, sweep
    from tts.budget import Limits
    from tts.client import Client
    from tts.errors import BudgetExhausted, EndpointError, TTSError, UsageError
    from tts.examples import Example
    from tts.planning import Plan, aplan, plan
    from tts.pool import Pool
    from tts.replays import replay
    from tts.results import Replayed, Solved, SweepResult
    from tts.run import Run
    from tts.types import Candidate, Completion, Problem, Sampling, Score, StrategySpec

_HOMES = {
    "BudgetExhausted": "errors",
    "Candidate": "types",
    "Client": "client",
    "Completion": "types",
    "EndpointError": "errors",
    "Example": "tasks",
    "Limits": "budget",
    "Plan": "planning",
    "Pool": "pool",
    "Problem": "types",
    "Replayed": "results",
    "Run": "run",
    "Sampling": "types",
    "Score": "types",
    "Solved": "results",
    "StrategySpec": "types",
    "SweepResult": "results",
    "TTSError": "errors",
    "UsageError": "errors",
    "aplan": "planning",
    "asolve": "api",
    "asweep": "api",
    "plan": "planning",
    "replay": "replays",
    "solve": "api",
    "sweep": "api",
}
__all__ = [
    "BudgetExhausted",
    "Candidate",
    "Client",
    "Completion",
    "EndpointError",
    "Example",
    "Limits",
    "Plan",
    "Pool",
    "Problem",
    "Replayed",
    "Run",
    "Sampling",
    "Score",
    "Solved",
    "StrategySpec",
    "SweepResult",
    "TTSError",
    "UsageError",
    "aplan",
    "asolve",
    "asweep",
    "plan",
    "replay",
    "solve",
    "sweep",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tts' has no attribute {name!r}")
    return getattr(import_module(f"tts.{home}"), name)


def __dir__() -> list[str]:
    return __all__
