"""Blind rating by people: which pairs of a run's answers are shown, in which order and on which side, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

from rung.core.codec import digest, spell
from rung.core.errors import InputError
from rung.core.protocols import Resources
from rung.core.types import Input, Result
from rung.ladder.history import find_rung, read_results
from rung.ladder.records import RunRecord
from rung.metrics.rating import Ratings, Verdict, Vote
from rung.store import Store, StoredRating

NO_ANSWER = "(no answer)"


@dataclass(frozen=True, slots=True)
class RatedPair:
    """Two rungs' answers to one example; ``one`` comes before ``other`` by name."""

    example: str
    input: Input
    one: str
    other: str
    answers: tuple[str, str]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.example, self.one, self.other


@dataclass(frozen=True, slots=True)
class Study:
    """What there is to rate of a run, in its order, which is the same for every rater so that they meet on the same
    questions. ``same``: pairs left out because both answers are the same text."""

    run: str
    task: str
    questions: tuple[RatedPair, ...]
    same: int
    seed: int

    def left(self, question: RatedPair, rater: str) -> str:
        """The rung that stands on the left for this rater: a fair coin that falls the same way every time."""
        coin = int(digest([self.seed, rater, *question.key])[:8], 16) & 1
        return question.other if coin else question.one


async def prepare(
    store: Store, run: RunRecord, rungs: Sequence[str], resources: Resources, *, seed: int = 0, limit: int | None = None
) -> Study:
    """Every pair of ``rungs`` on every example that both answered, shuffled. Raises InputError for fewer than two rungs, one
    that is not in the run, or nothing to tell apart."""
    names = sorted(set(rungs))
    if len(names) < 2:
        known = ", ".join(record.title for record in run.rungs)
        raise InputError(
            f"got {len(names)} rungs, expected two or more to compare",
            remedy=f"rung rate {run.id} RUNG RUNG; its rungs: {known}",
        )
    for name in names:
        find_rung(run, name)
    answers: dict[str, dict[str, Result]] = {}
    for name in names:
        answers[name] = {
            result.example.id: result for result in await read_results(store, run, name, resources, what="rate")
        }
    questions, same = [], 0
    for one, other in combinations(names, 2):
        for id, result in answers[one].items():
            if id not in answers[other]:
                continue
            texts = _text(result), _text(answers[other][id])
            if texts[0] == texts[1]:
                same += 1
            else:
                questions.append(RatedPair(id, result.example.input, one, other, texts))
    if not questions:
        raise InputError(
            f"{' and '.join(names)} gave the same answer to all examples that they share ({same})",
            remedy="choose rungs that differ",
        )
    random.Random(seed).shuffle(questions)
    return Study(run.id, run.task, tuple(questions[:limit]), same, seed)


def _text(result: Result) -> str:
    return NO_ANSWER if result.answer.failure is not None else spell(result.answer.output)


def read_votes(rows: Sequence[StoredRating]) -> list[Vote]:
    """Stored verdicts as votes."""
    return [
        Vote(
            row.example,
            row.rater,
            row.left,
            row.other if row.left == row.one else row.one,
            cast(Verdict, row.verdict),
        )
        for row in rows
    ]


def table(found: Ratings) -> str:
    """The summary as plain text."""
    who = ", ".join(f"{rater} ({count})" for rater, count in found.raters)
    lines = [f"{found.votes} verdicts by {who}", "", "Win rates (ties and both bad count half; over examples)"]
    for duel in found.duels:
        r = duel.rate
        lines.append(
            f"  {duel.one} against {duel.other}: {r.value:.1%} [{r.low:.1%}, {r.high:.1%}] over {duel.examples} examples "
            f"({duel.wins} won, {duel.losses} lost, {duel.ties} ties, {duel.bad} both bad)"
            + ("" if not r.low <= 0.5 <= r.high else ": no difference shown")
        )
    lines += ["", "Elo by Bradley-Terry (mean 1000)"]
    width = max(len(one.rung) for one in found.strengths)
    lines += [
        f"  {one.rung:<{width}}  {one.elo.value:5.0f} [{one.elo.low:.0f}, {one.elo.high:.0f}]"
        for one in found.strengths
    ]
    lines += ["", "Agreement between raters (0: chance, 1: always)"]
    for one in found.agreement:
        name = "Cohen's kappa" if len(one.raters) == 2 else "Fleiss' kappa"
        k = one.kappa
        lines.append(
            f"  {name} of {', '.join(one.raters)}: {k.value:.2f} [{k.low:.2f}, {k.high:.2f}] over {one.items} pairs"
        )
    if not found.agreement:
        lines.append("  not known: no two raters have rated two or more of the same pairs")
    lines += ["", "Side"]
    if found.left is None:
        lines.append("  nothing was decided for a side")
    else:
        side = found.left
        bent = "the side matters: read the rest with care" if found.side_p < 0.05 else "no preference shown"
        lines.append(
            f"  left was chosen in {side.value:.1%} [{side.low:.1%}, {side.high:.1%}] of decided verdicts, "
            f"p {found.side_p:.3f}: {bent}"
        )
    return "\n".join(lines)
