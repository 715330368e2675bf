"""Blind rating by people: which pairs of a run's answers are shown, in which order and on which side, and what came of
it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

from rung.core.codec import digest, spell
from rung.core.errors import InputError
from rung.core.parts.option import argument
from rung.core.protocols import Resources
from rung.core.types import Input, Interval, Result
from rung.ladder.history import find_rung, read_results
from rung.ladder.records import RunRecord
from rung.metrics.statistics.rating import RaterAgreement, Ratings, Verdict, Vote, summarise
from rung.store import Store, StoredRating
from rung.studies.study import Lab, Study

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
class Questions:
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
) -> Questions:
    """Every pair of ``rungs`` on every example that both answered, shuffled. Raises InputError for fewer than two
    rungs, one that is not in the run, or nothing to tell apart."""
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
    return Questions(run.id, run.task, tuple(questions[:limit]), same, seed)


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


@dataclass(frozen=True)
class Rating(Study[RunRecord, Ratings]):
    """What people said of a run's answers: win rates, Elo, agreement, and whether the side mattered."""

    name = "rating"
    subject = "run"
    records = Ratings

    rungs: tuple[str, ...] = argument("Two or more of its rungs.", "RUNGS", ())

    async def measure(self, subject: RunRecord, lab: Lab) -> Ratings:
        """Raises InputError for a rung that the run does not have, or where nobody has rated."""
        for name in self.rungs:
            find_rung(subject, name)
        votes = read_votes(lab.store.ratings.of(subject.id))
        if self.rungs:
            votes = [vote for vote in votes if {vote.left, vote.right} <= set(self.rungs)]
        if not votes:
            raise InputError(
                f"nobody has rated these answers of run {subject.id} yet", remedy=f"rung rate {subject.id} RUNG RUNG"
            )
        return summarise(votes)

    def table(self, found: Ratings) -> str:
        who = ", ".join(f"{rater} ({count})" for rater, count in found.raters)
        lines = [f"{found.votes} verdicts by {who}", "", "Win rates (ties and both bad count half; over examples)"]
        lines += [
            f"  {duel.one} against {duel.other}: {_percent(duel.rate)} over {duel.examples} examples "
            f"({duel.wins} won, {duel.losses} lost, {duel.ties} ties, {duel.bad} both bad)"
            + ("" if not duel.rate.low <= 0.5 <= duel.rate.high else ": no difference shown")
            for duel in found.duels
        ]
        lines += ["", "Elo by Bradley-Terry (mean 1000)"]
        width = max(len(one.rung) for one in found.strengths)
        for strength in found.strengths:
            elo = strength.elo
            lines.append(f"  {strength.rung:<{width}}  {elo.value:5.0f} [{elo.low:.0f}, {elo.high:.0f}]")
        lines += ["", "Agreement between raters (0: chance, 1: always)", *map(_kappa, found.agreement)]
        if not found.agreement:
            lines.append("  not known: no two raters have rated two or more of the same pairs")
        lines += ["", "Side"]
        if found.left is None:
            lines.append("  nothing was decided for a side")
        else:
            bent = "the side matters: read the rest with care" if found.side_p < 0.05 else "no preference shown"
            lines.append(
                f"  left was chosen in {_percent(found.left)} of decided verdicts, p {found.side_p:.3f}: {bent}"
            )
        return "\n".join(lines)


def _percent(share: Interval) -> str:
    return f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"


def _kappa(row: RaterAgreement) -> str:
    name = "Cohen's kappa" if len(row.raters) == 2 else "Fleiss' kappa"
    k = row.kappa
    return f"  {name} of {', '.join(row.raters)}: {k.value:.2f} [{k.low:.2f}, {k.high:.2f}] over {row.items} pairs"
