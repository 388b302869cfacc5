"""Why an answer was selected, in sentences that state facts: votes, scores, ties, what ended the trial."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Mapping, Sequence

from tts.errors import TTSError
from tts.plugins.names import built_in, strategy
from tts.plugins.spec import parse_specs
from tts.toolkit.rankings.trust import KEY, LEAST, judged
from tts.view.schema import CandidateShown, Verification, Vote
from tts.view.trials.records import TrialRecords

_UNENDED = {
    "cancelled": "it was cancelled before it ended",
    "failed": "the request failed",
    "refused": "it was turned down: no more was granted",
    "lost": "the run stopped while it was in flight",
    "in flight": "it has not ended",
}

_NO_SCORES = ("Every verification abstained, so that no score could decide.",)


def votes_of(candidates: Sequence[CandidateShown], correct: Mapping[str | None, bool | None]) -> list[Vote]:
    """Answers by the number of candidates that have exactly this one, most first, and then first seen first. `weight`
    is the sum of their scores, None where none has any."""
    members: dict[str, list[CandidateShown]] = {}
    for candidate in candidates:
        if candidate.votes and candidate.answer is not None:
            members.setdefault(candidate.answer, []).append(candidate)
    found = []
    for answer, some in members.items():
        scores = [candidate.score for candidate in some if candidate.score is not None]
        weight = round(sum(scores), 6) if scores else None
        found.append(Vote(answer, len(some), weight, correct.get(answer)))
    return sorted(found, key=lambda vote: -vote.count)


def reasons(
    named: str,
    records: TrialRecords,
    candidates: Sequence[CandidateShown],
    votes: Sequence[Vote],
    verifications: Sequence[Verification],
    remembered: Mapping[str, Mapping[str, float]],
) -> list[str]:
    """The sentences, the rule of the strategy first. `remembered`: what the trial read last of the run's memory."""
    silent = bool(verifications) and all(verification.verdict == "abstained" for verification in verifications)
    found = [*_rule(named), *(_NO_SCORES if silent else about_trust(named, remembered))]
    selected = next((candidate for candidate in candidates if candidate.selected), None)
    if selected is not None:
        found += _about_votes(selected, votes)
        found += _about_scores(selected, candidates)
    found += _about_silence(candidates, verifications)
    return found + _about_the_end(records, selected)


def reasons_of_judging(
    records: TrialRecords, candidates: Sequence[CandidateShown], verifications: Sequence[Verification]
) -> list[str]:
    """The sentences of a trial of judges, which selects nothing."""
    found = ["Judges were asked about recorded candidates: nothing was sampled, and no answer was selected."]
    scores = [candidate.score for candidate in candidates if candidate.score is not None]
    if scores:
        found.append(
            f"{len(scores)} of {len(candidates)} candidates have a score, from {min(scores):.4g} to {max(scores):.4g}."
        )
    return found + _about_silence((), verifications) + _about_the_end(records, None)


def _rule(named: str) -> list[str]:
    """The first sentence of the strategy's documentation, with the values that its parameters had."""
    name, values = named.partition(":")[0], _values(named)
    if name not in built_in("strategies"):
        return []
    said = " ".join((inspect.getdoc(strategy(name)) or "").split("\n\n")[0].split("\n"))

    def valued(match: re.Match[str]) -> str:
        word = match[1]
        return f"{word}={values[word]}" if values.get(word) is not None else word

    return [f"The rule of {name}: {re.sub('`([^`]*)`', valued, said)}"] if said else []


def _values(named: str) -> dict[str, object]:
    """The parameters of a strategy of this library, by name: those that are named, and the defaults of the others."""
    name = named.partition(":")[0]
    if name not in built_in("strategies"):
        return {}
    known = inspect.signature(strategy(name)).parameters.values()
    values: dict[str, object] = {each.name: each.default for each in known if each.default is not each.empty}
    with contextlib.suppress(TTSError):  # what a later version has no more
        values |= next(iter(parse_specs(named))).params
    return values


def about_trust(named: str, remembered: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What the verifier was allowed to decide, by what the run knew of it."""
    if _values(named).get("trust") == "blind":
        return ["The verifier is trusted blindly (trust=blind): its scores decide, whatever the votes say."]
    return [_trust_in(key.removeprefix(KEY), sums) for key, sums in remembered.items() if key.startswith(KEY)]


def _trust_in(verifier: str, sums: Mapping[str, float]) -> str:
    problems, trusted = sums.get("problems", 0.0), judged(sums)
    if problems < LEAST:
        return (
            f"Trust in {verifier} was not earned yet: {problems:.0f} earlier problem{_s(int(problems))} with a clear "
            f"vote said something of it, and {LEAST} must. It only broke ties of the vote."
        )
    share = 100 * sums.get("above", 0.0) / problems
    found = f"on {problems:.0f} earlier problems with a clear vote, it preferred the vote's answer in {share:.0f} %"
    if trusted is None:
        return f"Trust in {verifier} was not earned: {found}, which may be chance. It only broke ties of the vote."
    if trusted:
        return f"Trust in {verifier} was earned: {found}. It chose among all answers."
    return f"{verifier} was distrusted: {found}, less than by chance. The plain vote decided."


def _about_votes(selected: CandidateShown, votes: Sequence[Vote]) -> list[str]:
    if not votes:
        return []
    total = sum(vote.count for vote in votes)
    own = next((vote for vote in votes if vote.answer == selected.answer), None)
    if own is None:
        return ["The selected candidate has no answer that could be read."]
    others = [vote for vote in votes if vote is not own]
    found = [f"The selected answer, {_quoted(own.answer)}, is that of {own.count} of {total} candidate{_s(total)}"]
    if others:
        most = max(others, key=lambda vote: vote.count)
        found[0] += f"; the next, {_quoted(most.answer)}, is that of {most.count}"
        if most.count > own.count:
            found.append("A vote of all candidates would have chosen another answer.")
        elif tied := [vote for vote in others if vote.count == own.count]:
            names = ", ".join(_quoted(vote.answer) for vote in tied[:3])
            first = votes.index(own) < min(map(votes.index, tied))
            found.append(f"It ties with {names}{'; it was seen first' if first else ''}.")
    found[0] += "."
    if own.weight is not None:
        ranked = sorted((v for v in votes if v.weight is not None), key=lambda v: -(v.weight or 0.0))
        place = ranked.index(own) + 1
        if len(ranked) > 1:
            found.append(f"Its scores add up to {own.weight:.4g}, which is place {place} of {len(ranked)} answers.")
    return found


def _about_scores(selected: CandidateShown, candidates: Sequence[CandidateShown]) -> list[str]:
    scored = [candidate for candidate in candidates if candidate.score is not None and not candidate.partial]
    if not scored:
        return []
    if selected.score is None:
        return [f"The selected candidate has no score, {len(scored)} others have one."]
    others = [candidate.score for candidate in scored if candidate is not selected and candidate.score is not None]
    if not others:
        return [f"It alone has a score, {selected.score:.4g}."]
    best, equal = max(others), sum(score == selected.score for score in others)
    if selected.score > best:
        own, next_one = _apart(selected.score, best)
        said = f"Its score, {own}, is the highest of {len(scored)}; the next is {next_one}"
    elif selected.score == best:
        said = f"Its score, {selected.score:.4g}, is the highest of {len(scored)}, and that of {equal} other" + (
            "s" if equal > 1 else ""
        )
    else:
        own, highest = _apart(selected.score, best)
        said = f"Its score is {own}; the highest of {len(scored)} is {highest}"
    return [said + "."]


def _about_silence(candidates: Sequence[CandidateShown], verifications: Sequence[Verification]) -> list[str]:
    found = []
    silent = [c for c in candidates if c.kind == "generate" and c.finish_reason is not None and c.answer is None]
    whole = [c for c in silent if not c.partial and c.state in ("finished", "shared")]
    if whole:
        have = "candidate has" if len(whole) == 1 else "candidates have"
        found.append(f"{len(whole)} {have} no answer that could be read, and did not vote.")
    abstained = sum(v.verdict == "abstained" for v in verifications)
    if abstained:
        found.append(f"{abstained} of {len(verifications)} verifications gave no score.")
    for state, one, some in (
        ("cancelled", "was cancelled before it ended", "were cancelled before they ended"),
        ("failed", "failed", "failed"),
        ("refused", "was turned down", "were turned down"),
    ):  # fmt: skip
        count = sum(c.state == state for c in candidates)
        if count:
            found.append(f"{count} request{_s(count)} {one if count == 1 else some}.")
    return found


def _about_the_end(records: TrialRecords, selected: CandidateShown | None) -> list[str]:
    decided = records.decided
    if decided is None:
        return ["The trial is not decided yet."]
    found = []
    if decided.stopped:
        found.append(f"The allocator gave this problem no more: {decided.stopped}.")
    if decided.shortage is not None:
        short = decided.shortage
        found.append(
            f"The budget held no further {short.action}: it may cost {short.asked:g} {short.limit}, and {short.left:g} "
            f"of {short.budget:g} were left."
        )
    elif decided.exhausted:
        found.append("The budget, or the time, ended before the strategy did: it chose among what had come.")
    if decided.error is not None:
        found.append(f"There is no answer: {decided.error.message}")
    return found


def because(
    candidate: CandidateShown, candidates: Sequence[CandidateShown], votes: Sequence[Vote], selected: str | None
) -> str:
    """Why a candidate was selected or not, in a few words."""
    if candidate.selected or candidate.kind not in ("generate", "proposed"):
        return "selected" if candidate.selected else ""
    if candidate.state in _UNENDED:
        return _UNENDED[candidate.state]
    if candidate.partial or candidate.answer is None:
        return "it is a step of a longer text" if candidate.partial else "no answer could be read"
    chosen = next((other for other in candidates if other.id == selected), None)
    if chosen is None or chosen.answer == candidate.answer:
        return "" if chosen is None else "it has the selected answer"
    counts = {vote.answer: vote.count for vote in votes}
    own, other = counts.get(candidate.answer, 0), counts.get(chosen.answer or "", 0)
    said = f"{own} candidate{' has' if own == 1 else 's have'} its answer, {other} the selected one"
    if candidate.score is not None and chosen.score is not None:
        own_score, selected_score = _apart(candidate.score, chosen.score)
        said += f"; its score is {own_score}, that of the selected candidate {selected_score}"
    return said


def _quoted(answer: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{answer[:60]}{'...' * (len(answer) > 60)}\N{RIGHT DOUBLE QUOTATION MARK}"


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two scores that differ, with as many digits as it takes to see it."""
    pairs = ((f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in range(4, 18))
    return next(pair for pair in pairs if pair[0] != pair[1] or one == other)


def _s(count: int) -> str:
    return "" if count == 1 else "s"
