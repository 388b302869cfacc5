"""Turn a budget of tokens into the best answers a model can give.

    solved = tts.solve("What is 17 + 25?", "majority_vote:n=8", budget="tokens=2k")
    result = tts.sweep("problems.jsonl", ["single", "best_of_n:n=2,4,8"], out="runs/first")

Names are imported when first used: `import tts` costs milliseconds.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A checkout keeps strategies/ and clusters/ beside tts/; a wheel keeps them inside.
_root = Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").is_file() and (_root / "strategies").is_dir():
    __path__.append(str(_root))

if TYPE_CHECKING:
    from tts.api.client import Client
    from tts.api.judging.judge import ajudge, judge
    from tts.api.judging.preferences import aexport_pairs, export_pairs
    from tts.api.judging.report import ajudge_report, judge_report
    from tts.api.load import aload, load
    from tts.api.replays import areplay, replay
    from tts.api.report import areport, report
    from tts.api.results import Judged, Replayed, Solved, SweepResult
    from tts.api.solve import asolve, solve
    from tts.api.sweep import asweep, sweep
    from tts.clusters.virtual.fleet import Fleet
    from tts.core.actions import Request
    from tts.core.budget import Limits
    from tts.core.protocols import Verifier
    from tts.core.trials.context import Run
    from tts.errors import BudgetExhausted, EndpointError, TTSError, UsageError
    from tts.planning.plan import aplan, plan
    from tts.pools.pool import Pool
    from tts.runs.forecast import Plan
    from tts.tasks.example import Example
    from tts.types import (
        Candidate,
        Completion,
        Message,
        Problem,
        Sampling,
        Score,
        StrategySpec,
        Tool,
        ToolCall,
        Usage,
    )
    from tts.view.export import aexport_page, export_page

_HOMES = {
    "BudgetExhausted": "errors",
    "Candidate": "types",
    "Client": "api.client",
    "Completion": "types",
    "EndpointError": "errors",
    "Example": "tasks.sources",
    "Fleet": "clusters.virtual.fleet",
    "Judged": "api.results",
    "Limits": "core.budget",
    "Message": "types",
    "Plan": "runs.forecast",
    "Pool": "pools.pool",
    "Problem": "types",
    "Replayed": "api.results",
    "Request": "core.actions",
    "Run": "core.trials.context",
    "Sampling": "types",
    "Score": "types",
    "Solved": "api.results",
    "StrategySpec": "types",
    "SweepResult": "api.results",
    "TTSError": "errors",
    "Tool": "types",
    "ToolCall": "types",
    "Usage": "types",
    "UsageError": "errors",
    "Verifier": "core.protocols",
    "aexport_page": "view.export",
    "aexport_pairs": "api.judging.preferences",
    "ajudge": "api.judging.judge",
    "ajudge_report": "api.judging.report",
    "aload": "api.load",
    "aplan": "planning.plan",
    "areplay": "api.replays",
    "areport": "api.report",
    "asolve": "api.solve",
    "asweep": "api.sweep",
    "export_page": "view.export",
    "export_pairs": "api.judging.preferences",
    "judge": "api.judging.judge",
    "judge_report": "api.judging.report",
    "load": "api.load",
    "plan": "planning.plan",
    "replay": "api.replays",
    "report": "api.report",
    "solve": "api.solve",
    "sweep": "api.sweep",
}
__all__ = [
    "BudgetExhausted",
    "Candidate",
    "Client",
    "Completion",
    "EndpointError",
    "Example",
    "Fleet",
    "Judged",
    "Limits",
    "Message",
    "Plan",
    "Pool",
    "Problem",
    "Replayed",
    "Request",
    "Run",
    "Sampling",
    "Score",
    "Solved",
    "StrategySpec",
    "SweepResult",
    "TTSError",
    "Tool",
    "ToolCall",
    "Usage",
    "UsageError",
    "Verifier",
    "aexport_page",
    "aexport_pairs",
    "ajudge",
    "ajudge_report",
    "aload",
    "aplan",
    "areplay",
    "areport",
    "asolve",
    "asweep",
    "export_page",
    "export_pairs",
    "judge",
    "judge_report",
    "load",
    "plan",
    "replay",
    "report",
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
