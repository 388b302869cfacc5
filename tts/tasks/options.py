"""The options of prompts: the one definition of the API's keywords and of the command line's options.

Imports nothing but the standard library and the form of an option: the command line reads it to show its help.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

from tts.models.options import Option

if TYPE_CHECKING:
    AnswerFunction = Callable[..., Any]
else:
    AnswerFunction = Callable


class Prompting(TypedDict, total=False):
    """How problems are put to a model.

    Keys:
        system: a system turn before every problem that has none of its own.
        template: text of the user's turn, with `{question}` where the problem goes, and `{choices}` where its choices
            go (else they follow the question). `{{word}}` is the text `{word}`; all other braces stand as they are. A
            `Path` is a file that holds it.
        few_shot: a file of problems with answers, of which `shots` are shown as turns before every problem, each answer
            as the file has it. None: the first problems that have answers, which are then not asked.
        shots: number of worked examples; None is all of `few_shot`.
        answer_regex: a regular expression of Python's whose group holds the answer: its last match outside of thinking.
        answer: a function that finds the answer: `def mine(text)` or `def mine(text, problem)`, which returns text or
            None; or its address, `FILE.py:NAME`. It runs beside the strategy, and must be as quick.
    """

    system: Annotated[str | None, Option("System message before every problem that has none of its own.")]
    template: Annotated[
        str | Path | None,
        Option("File with the text of the user's turn: {question}, and {choices} if there are any.", Path | None),
    ]
    few_shot: Annotated[
        str | Path | None,
        Option("File of worked examples; none: the first problems with answers, not asked then.", Path | None),
    ]
    shots: Annotated[int | None, Option("Number of worked examples before every problem.", int | None)]
    answer_regex: Annotated[
        str | None, Option("Regular expression for the answer, which is its group; the last match counts.")
    ]
    answer: Annotated[str | AnswerFunction | None, Option("Function that finds the answer in a text: FILE.py:NAME.")]


def prompt_options() -> dict[str, Option]:
    """Command-line options by key of `Prompting`."""
    hints = get_type_hints(Prompting, include_extras=True)
    return {key: hint.__metadata__[0] for key, hint in hints.items()}
