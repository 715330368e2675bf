"""Ratings, A/B tests and their outcomes in every database."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from rung.store import Store, StoredRating, open_store

RATING = StoredRating("r", "Ada", "e1", "linear", "rules", "rules", "left", "a note", 7)


def test_ratings_survive_reopening_and_a_second_thought_replaces_the_first(store: Store, url: str) -> None:
    store.ratings.put(RATING)
    store.ratings.put(replace(RATING, rater="Bob"))
    store.ratings.put(replace(RATING, run="r2"))
    store.ratings.put(replace(RATING, verdict="tie", note="ñ\0 <b>", left="linear"))
    with open_store(url) as other:
        kept = other.ratings.of("r")
    assert [(row.rater, row.verdict) for row in kept] == [("Bob", "left"), ("Ada", "tie")]
    assert (kept[1].note, kept[1].left, kept[1].seed) == ("ñ\ufffd <b>", "linear", 7)
    assert abs(kept[1].created - time.time()) < 60


def test_gc_forgets_ratings_with_their_run(store: Store) -> None:
    run = store.runs.start("t", "h", "{}")
    store.runs.update(run, status="done")
    store.ratings.put(replace(RATING, run=run))
    store.gc(before=0)
    assert len(store.ratings.of(run)) == 1
    store.gc(before=time.time() + 1)
    assert store.ratings.of(run) == []


def test_a_split_begins_once_and_its_first_reason_to_stop_stays(store: Store) -> None:
    assert store.ab_tests.get("s") is None
    first = store.ab_tests.put("s", '{"v":1}')
    assert store.ab_tests.put("s", '{"v":2}') == first
    assert store.ab_tests.put_outcome("i", "s", "A", "c") == ""
    store.ab_tests.stop("s", "worse")
    store.ab_tests.stop("s", "again")
    assert store.ab_tests.put_outcome("j", "s", "A", "c") == "worse"
    assert store.ab_tests.get("s") == replace(first, stopped="worse")
    store.ab_tests.stop("s", "")
    assert store.ab_tests.all() == [first]


def test_one_score_a_caller_counts_and_a_given_score_stays(store: Store) -> None:
    for id, arm, caller in (("1", "A", "x"), ("2", "A", "x"), ("3", "B", "y"), ("4", "A", "z"), ("5", "B", "w")):
        store.ab_tests.put_outcome(id, "s", arm, caller)
    store.ab_tests.put_outcome("6", "other", "A", "x")
    assert store.ab_tests.score_outcome("s", "nobody", 1.0) is None
    assert store.ab_tests.score_outcome("s", "6", 1.0) is None
    second = store.ab_tests.score_outcome("s", "2", 0.25)
    assert second is not None
    assert (second.arm, second.counts, second.score) == ("A", True, 0.25)
    first = store.ab_tests.score_outcome("s", "1", 1.0)
    assert first is not None
    assert not first.counts
    again = store.ab_tests.score_outcome("s", "2", 1.0)
    assert again is not None
    assert again.score == 0.25
    store.ab_tests.score_outcome("s", "3", 0.5)
    store.ab_tests.score_outcome("s", "4", 0.5)
    tally = store.ab_tests.tally("s")
    assert (tally["A"].answers, tally["A"].scored, tally["A"].callers, tally["A"].total) == (3, 3, 2, 0.75)
    assert tally["A"].mean == pytest.approx((0.25 + 1 + 0.5) / 3)
    assert (tally["B"].answers, tally["B"].scored, tally["B"].callers, tally["B"].total) == (2, 1, 1, 0.5)
    assert store.ab_tests.tally("nothing") == {}


def test_of_scores_that_come_at_once_one_counts(store: Store) -> None:
    for i in range(8):
        store.ab_tests.put_outcome(str(i), "s", "A", "one caller")
    threads = [threading.Thread(target=store.ab_tests.score_outcome, args=("s", str(i), 1.0)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store.ab_tests.tally("s")["A"].scored, store.ab_tests.tally("s")["A"].callers) == (8, 1)
