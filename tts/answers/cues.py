"""The words that come before an answer, in English and other languages.

Every pattern has a longest match, so that looking for them in a text takes time in proportion to its length.
"""

# ruff: noqa: RUF001
from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

_VERB = (
    r"(?:is|are|was|were|(?:will|would|should|must|can|could)\sbe|equals|becomes|comes?\s(?:out\s)?to(?:\sbe)?"
    r"|(?:turns|works)\sout\sto\sbe)\b"
)
_FILLERS = (
    r"(?:,?\s{1,2}(?:thus|therefore|hence|then|simply|just|also|clearly|indeed|now|actually|obviously|definitely"
    r"|approximately|about|around|roughly|nearly|exactly|equal\sto|given\sby|found\sto\sbe|as\sfollows)\b,?){0,3}"
)
_ENGLISH = (
    r"\bans(?:wers?\b|\b\.?)(?:\s?\([^()\n]{0,40}\))?"
    r"(?:\s(?:to|for|of|in|we|I|you|that|which)\s[^\n.:=]{0,60}?)?(?:,\s(?:then|therefore|thus),)?"
    rf"[ \t*_\"'`)\]]{{0,6}}(?P<verb>\b{_VERB}{_FILLERS})?(?(verb)[ \t*_]{{0,6}}:?|(?:=>|[:=：→⇒]))"
)
_OTHER = (
    r"(?:\b(?:Antwort|Lösung|Ergebnis|respuesta|solución|resultado|réponse|résultat|risposta|soluzione|risultato"
    r"|resposta|solução|antwoord|oplossing|svaret?|vastaus|odpowiedź|odpověď|răspunsul|răspuns|cevap|đáp\sán"
    r"|jawaban(?:nya)?|ответ|відповідь|απάντηση)\b|정답|답|正确选项|答案|答え|解答|回答|答|उत्तर|الجواب|الإجابة|תשובה)"
    r"(?:[ \t*_]{0,3}[^\W\d_]{1,14}){0,2}?[ \t*_]{0,6}"
    r"(?:(?:\b(?:ist|lautet|es|est|è|é|is|är|er|on|to|je|este|là|adalah|равен|είναι)\b|是|为|為|は|는|은|है|هي|هو)"
    r"[ \t*_]{0,6}[:：]?|[:：=])"
)
_HEADING = r"^[ \t#*_]{0,10}(?:final\s)?answers?[ \t*_]{0,6}(?=\n)"

ANSWER = re.compile(
    rf"(?:{_ENGLISH}|{_OTHER}|{_HEADING}|(?<!#)\#{{4}}(?!#))[ \t*_]{{0,40}}", re.IGNORECASE | re.MULTILINE
)
"""What an answer follows."""

_LETTER_AHEAD = r"(?=(?:the\s)?(?:(?:option|choice|answer|letter)\s)?[(\[*_\"'`$\\]{0,4}[A-Z](?![^\W_]|['’]))"
_ENDING_LETTER_AHEAD = (
    r"(?=(?:the\s)?(?:(?:option|choice|answer|letter)\s[(\[*_$\\]{0,4}[A-Z](?![^\W_])|[(\[][A-Z][)\]]"
    r"|[*_\"'`$]{0,4}[A-Z][*_.\"'`$)]{0,5}(?:$|\n)))"
)
CHOICE = re.compile(
    rf"(?i:{ANSWER.pattern})"
    r"|\b(?i:correct|right|best|final|chosen|selected|my)\s(?i:option|choice|answer|alternative|selection|pick|letter)"
    rf"(?:\s(?:here|then))?[ \t*_]{{0,6}}(?:\b{_VERB}{_FILLERS}[ \t*_]{{0,6}}:?|[:：])\s?"
    r"|\b(?i:correct|conclusion|verdict|choice|option|selection|final)[ \t*_]{0,4}[:：]\s?"
    r"|\b(?i:choose|pick|select|chose|picked|selected|choosing|selecting|go\swith|going\swith|opt\sfor|vote\sfor|mark|only)"
    rf"\s{_LETTER_AHEAD}"
    r"|\b(?i:corresponds\sto|matches(?:\swith)?|which\sis|that\sis|it\sis|it['’]s|that['’]s|must\sbe|has\sto\sbe"
    r"|leav(?:es|ing)(?:\sus\swith)?|(?:best|right|correct)\s(?:one\s)?is"
    rf"|points\sto|therefore|thus|hence|so|consequently),?\s(?:it\sis\s|it['’]s\s|only\s|just\s)?{_ENDING_LETTER_AHEAD}"
    rf"|(?:故选|应选|选择|选)[:： ]?{_LETTER_AHEAD}",
    re.MULTILINE,
)
"""What the letter of a choice follows."""

_DENIED = re.compile(
    r"[\s*_]{0,6}(?:(?:certainly|clearly|definitely)\s)?not\s[\"'*_$\\(\[]{0,4}(?:[-\d.]|[A-Za-z](?![A-Za-z])|option|choice)"
)


_NEAR = 4096  # characters before the end of a text, where most answers stand
_LONGEST = 512  # characters of a cue, at most


def cues_from_the_end(text: str) -> Iterator[re.Match[str]]:
    """What `ANSWER` matches, the last first. All of a long text is searched only where its end was not enough."""
    near = max(0, len(text) - _NEAR)
    # The first matches behind `near` may begin within a longer one that begins before it.
    last = [cue for cue in ANSWER.finditer(text, near) if not near or cue.start() >= near + _LONGEST]
    yield from reversed(last)
    if near:
        first = last[0].start() if last else len(text)
        yield from reversed([*takewhile(lambda cue: cue.start() < first, ANSWER.finditer(text))])


def is_denied(text: str, end: int) -> bool:
    """Whether the text at `end`, behind a cue, denies an answer: "not 8"."""
    return bool(_DENIED.match(text, end, end + 60))
