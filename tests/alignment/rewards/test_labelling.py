"""Labels that are asked for: round by round, what models disagree on first, from files alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rung.alignment.rewards.labelling import LABELS, Labelling, advance, open_labelling, pick, rehearse
from rung.alignment.rewards.pairs import AnswerPair, read_pairs
from rung.core.errors import InputError
from rung.core.types import Message
from tests.alignment.words import Words

POOL = [AnswerPair(f"p{at}", (Message("user", f"question {at}"),), f"good {at}", f"bad {at}") for at in range(40)]


def begin(folder: Path, ask: int = 6) -> Labelling:
    return open_labelling(folder, POOL, Labelling(folder, ask, 3))


def answer_all(run: Labelling) -> None:
    for one in run.open:
        run.answer(one.id, "one" if one.one.startswith("good") else "other")


def test_a_run_waits_for_its_labels_and_goes_on_from_its_files(tmp_path: Path) -> None:
    run = advance(begin(tmp_path), Words())
    first = [one.id for one in run.open]
    assert len(first) == 6
    assert {one.one.split()[0] for one in run.open} == {"good", "bad"}
    again = advance(begin(tmp_path), Words())
    assert [one.id for one in again.open] == first  # nothing was answered: the same questions, in a new process too
    answer_all(run)
    with (tmp_path / LABELS).open("a") as stream:
        stream.write('{"id": "p1", "bet')  # killed while it wrote
    for left in (6, 6, 0):
        run = advance(begin(tmp_path), Words())
        assert len(run.open) == left
        answer_all(run)
    assert run.done
    assert all(pair.chosen.startswith("good") for pair in run.labelled())
    assert len({pair.id for pair in run.labelled()}) == 18
    pairs = read_pairs([run.write_pairs()])
    assert {pair.chosen.split()[0] for pair in pairs} == {"good"}


def test_ties_teach_nothing_and_wrong_answers_are_refused(tmp_path: Path) -> None:
    run = advance(begin(tmp_path), Words())
    run.answer(run.open[0].id, "tie")
    assert run.labelled() == []
    for id, better in (("p999", "one"), (run.open[0].id, "left")):
        with pytest.raises(InputError) as caught:
            run.answer(id, better)
        assert caught.value.code == "label"


def test_other_pairs_than_it_was_begun_with_are_refused(tmp_path: Path) -> None:
    advance(begin(tmp_path), Words())
    with pytest.raises(InputError) as caught:
        open_labelling(tmp_path, POOL[1:], Labelling(tmp_path, 6, 3))
    assert caught.value.code == "other-pool"
    with pytest.raises(InputError) as caught:
        begin(tmp_path / "new", ask=20)
    assert caught.value.code == "few-pairs"


def test_models_agree_on_what_they_have_seen_and_ask_about_the_rest() -> None:
    """Labels say something of the first number alone; pairs that differ in the second are what nothing is known of."""
    draw = np.random.default_rng(0)
    known = np.c_[draw.normal(2, 0.5, 60), draw.normal(0, 0.05, 60)]
    left = np.r_[np.c_[np.full(20, 2.0), np.zeros(20)], np.c_[np.zeros(20), np.full(20, 4.0)]]
    assert min(pick(known, left, 10, [0])) >= 20


def test_a_rehearsal_compares_both_ways_with_equal_labels(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    apart = draw.normal(size=(120, 4)) + np.array([1.0, 0, 0, 0])
    points = rehearse(apart, apart[:40], Labelling(tmp_path, ask=15, rounds=3), repeats=4)
    assert [point.labels for point in points] == [15, 30, 45]
    assert points[0].gain.value == 0
    assert all(0.5 < point.chosen <= 1 for point in points)
