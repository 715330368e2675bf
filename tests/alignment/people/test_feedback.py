"""Feedback: from files, as pairs with their sources, by person, deleted; behaviour that is measured before it is used."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rung.alignment.people import feedback
from rung.alignment.people.implicit import measure, rewards, survey
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.data.sources.lineage import descendants, write_lineage
from rung.store import Store, StoredSignal, open_store
from rung.store.people.forgetting import forget_old


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path / 'rung.db'}")


def serve(store: Store, id: str, asked: str, answer: str) -> None:
    payload = {"program": "p1", "messages": [{"role": "user", "content": asked}], "answers": [{"text": answer}]}
    store.served.note(id, "rung/a", json.dumps(payload))


def ready(store: Store) -> None:
    import asyncio

    asyncio.run(store.settle())


def test_corrections_and_ratings_become_pairs_that_know_their_answers(store: Store, tmp_path: Path) -> None:
    serve(store, "a1", "where is it?", "no idea")
    serve(store, "a2", "how much?", "ten")
    serve(store, "a3", "how much?", "about ten euros")
    ready(store)
    table = tmp_path / "said.jsonl"
    rows = [
        {"id": "a1", "kind": "edit", "text": "On the shelf.", "person": "ann"},
        {"id": "a2", "kind": "rating", "value": 0.1, "person": "ann"},
        {"id": "a3", "kind": "rating", "value": 0.9, "person": "bob"},
        {"id": "nobody", "kind": "rating", "value": 1},
        {"id": "a3", "kind": "applause", "value": 1},
        {"id": "a3", "kind": "rating", "value": 7},
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems = Problems()
    assert feedback.add(store, table, problems) == 3
    assert {problem.code for problem in problems.close()} == {"unknown-answer", "feedback"}
    found = feedback.pairs(store)
    assert {(one.answer, one.rejected) for one in found} == {("On the shelf.", "no idea"), ("about ten euros", "ten")}
    assert sorted(found[1].source["served"]) == ["a2", "a3"]
    assert [one.rejected for one in feedback.pairs(store, person="ann")] == ["no idea"]
    feedback.review(store, "a1", "ann", consent=False)
    assert feedback.pairs(store, person="ann") == []
    feedback.review(store, "a1", "ann", consent=True)

    feedback.write(found, tmp_path / "pairs.jsonl")
    (whole,) = descendants([tmp_path / "pairs.jsonl"], store.served.missing)
    assert whole.gone == ()
    forget_old(store.database, before=2e10)
    feedback.demand_said(store, ["a1", "a2", "a3"])  # another store's, for all that is known here
    (stale,) = descendants([tmp_path / "pairs.jsonl"], store.served.missing)
    assert stale.gone == ("a1", "a2", "a3")
    assert store.signals.all() == []  # what was said goes with what it was said of


def test_what_a_person_took_back_is_in_no_pair_and_nothing_learns_from_it(store: Store, tmp_path: Path) -> None:
    for at in range(3):
        serve(store, f"a{at}", f"question {at}", "no idea")
    ready(store)
    feedback.review(store, "a0", "ann", correction="this")
    feedback.review(store, "a1", "bob", correction="that")
    feedback.review(store, "a2", "ann", correction="these")
    feedback.review(store, "a2", "bob", correction="those")
    feedback.write(feedback.pairs(store), tmp_path / "pairs.jsonl")
    write_lineage(tmp_path / "weights", [tmp_path / "pairs.jsonl"])
    write_lineage(tmp_path / "later", [], [tmp_path / "weights"])
    places = [tmp_path / "pairs.jsonl", tmp_path / "weights", tmp_path / "later"]
    assert not any(one.gone for one in descendants(places, store.served.missing, store.served.unsaid))
    feedback.demand_said(store, ["a0", "a1", "a2"])

    assert store.signals.forget("ann") == 4  # two reviews and two corrections; of a2 bob's word is left
    found = list(descendants(places, store.served.missing, store.served.unsaid))
    assert [(one.kind, one.gone) for one in found] == [("rows", ("a0",)), ("weights", ("a0",)), ("weights", ("a0",))]
    with pytest.raises(InputError) as caught:
        feedback.demand_said(store, ["a0", "a1", "a2"])
    assert caught.value.code == "stale-pairs"
    assert {one.answer for one in feedback.pairs(store)} == {"that", "those"}


def behaviour(count: int, honest: bool) -> list[StoredSignal]:
    draw, rows = random.Random(0), []
    for at in range(count):
        good = draw.random()
        rows.append(StoredSignal(f"a{at}", "rating", good))
        copied = draw.random() < (good if honest else 0.5)
        rows.append(StoredSignal(f"a{at}", "copy", float(copied)))
    return rows


def test_behaviour_is_learnt_from_only_where_it_agrees_with_ratings() -> None:
    assert [one.earned for one in measure(behaviour(150, True))] == [True]
    assert [one.earned for one in measure(behaviour(150, False))] == [False]
    assert [one.earned for one in measure(behaviour(60, True))] == [False]
    assert len(rewards(behaviour(150, True), ["copy"])) == 150
    for rows, kind in ((behaviour(150, False), "copy"), (behaviour(150, True), "retry")):
        with pytest.raises(InputError) as caught:
            rewards(rows, [kind])
        assert caught.value.code == "unearned"


def test_a_survey_says_who_answered() -> None:
    rows = [StoredSignal(f"a{at}", "survey-shown", 1.0) for at in range(100)]
    rows += [StoredSignal(f"a{at}", "survey", 1.0) for at in range(30)]
    rows += [StoredSignal(f"a{at}", "copy", 1.0) for at in range(35)]
    found = survey(rows)
    assert (found.shown, found.answered) == (100, 30)
    assert found.biased
    with pytest.raises(InputError):
        survey([])
