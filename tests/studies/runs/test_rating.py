"""Which pairs of a run are shown to people, and what is printed of their verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.core.types import RungChoice
from rung.ladder.climb import Climber
from rung.ladder.history import read_results
from rung.metrics.statistics.rating import summarise
from rung.models import Pool
from rung.store import Store, StoredRating
from rung.studies.runs.rating import Rating, prepare, read_votes
from tests import desk

CHOICES = (RungChoice("rules"), RungChoice("linear"), RungChoice("zero-shot"))


async def test_the_pairs_are_the_runs_own_answers_in_a_seeded_order(
    store: Store, pool: Pool, settings: Settings
) -> None:
    # Fitted on labels that are all wrong, two rungs differ from the one that reads the text.
    following = dict(zip(desk.LABELS, (*desk.LABELS[1:], desk.LABELS[0]), strict=True))
    wrong = [replace(example, reference=following[example.reference]) for example in desk.examples(0, 11)]
    task = desk.task(rungs=CHOICES, train=tuple(wrong[:24]), dev=tuple(wrong[24:]))
    run = await Climber(task, store, pool, settings).climb()
    study = await prepare(store, run, ["zero-shot", "rules", "linear"], pool, seed=3)
    answers = {
        name: {r.example.id: r for r in await read_results(store, run, name, pool)}
        for name in ("linear", "rules", "zero-shot")
    }
    for question in study.questions:
        one, other = (answers[name][question.example].answer for name in (question.one, question.other))
        assert question.answers[0] != question.answers[1]
        assert question.answers == tuple("(no answer)" if a.failure else a.output for a in (one, other))
        assert question.one < question.other
    assert len(study.questions) + study.same == 3 * 33
    assert study == await prepare(store, run, ["linear", "rules", "zero-shot"], pool, seed=3)
    shuffled = await prepare(store, run, ["linear", "rules", "zero-shot"], pool, seed=4)
    assert shuffled.questions != study.questions
    assert {q.key for q in shuffled.questions} == {q.key for q in study.questions}
    short = await prepare(store, run, ["linear", "zero-shot"], pool, limit=2)
    assert len(short.questions) == 2
    with pytest.raises(InputError, match="two or more"):
        await prepare(store, run, ["rules", "rules"], pool)
    with pytest.raises(InputError, match="no rung 'x'"):
        await prepare(store, run, ["rules", "x"], pool)


async def test_rungs_that_answer_alike_leave_nothing_to_rate(store: Store, pool: Pool, settings: Settings) -> None:
    twice = (RungChoice("zero-shot"), RungChoice("zero-shot", label="again"))
    run = await Climber(desk.task(rungs=twice), store, pool, settings).climb()
    with pytest.raises(InputError, match="same answer"):
        await prepare(store, run, ["zero-shot", "again"], pool)


def test_verdicts_are_read_with_their_sides_and_printed() -> None:
    row = StoredRating("r", "Ada", "e0", "linear", "rules", "rules", "left")
    rows = [replace(row, example=f"e{i}", rater=who) for i in range(12) for who in ("Ada", "Bob")]
    rows += [replace(row, example=f"t{i}", left="linear", verdict=v) for i, v in enumerate(("right", "tie", "bad"))]
    votes = read_votes(rows)
    assert {(vote.left, vote.right, vote.winner) for vote in votes[:24]} == {("rules", "linear", "rules")}
    said = Rating().table(summarise(votes))
    assert "27 verdicts by Ada (15), Bob (12)" in said
    assert "linear against rules: 6.7%" in said
    assert "(0 won, 25 lost, 1 ties, 1 both bad): no difference" not in said
    assert "Cohen's kappa of Ada, Bob: 1.00" in said
    assert said.index("rules   ") < said.index("linear  ")
    assert "the side matters" in said
    alone = Rating().table(summarise(votes[24:]))
    assert "no two raters" in alone
    assert "no difference shown" in alone
