"""Ratings, A/B tests and their outcomes in every database."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from rung.store import Store, StoredRating, open_store

RATING = StoredRating("r", "Ada", "e1", "linear", "rules", "rules", "left", "a note", 7)


def test_ratings_survive_reopening_and_a_second_thought_replaces_the_first(store: Store, url: str) -> None:
    store.put_rating(RATING)
    store.put_rating(replace(RATING, rater="Bob"))
    store.put_rating(replace(RATING, run="r2"))
    store.put_rating(replace(RATING, verdict="tie", note="ñ\0 <b>", left="linear"))
    with open_store(url) as other:
        kept = other.ratings("r")
    assert [(row.rater, row.verdict) for row in kept] == [("Bob", "left"), ("Ada", "tie")]
    assert (kept[1].note, kept[1].left, kept[1].seed) == ("ñ\ufffd <b>", "linear", 7)
    assert abs(kept[1].created - time.time()) < 60


def test_gc_forgets_ratings_with_their_run(store: Store) -> None:
    run = store.start_run("t", "h", "{}")
    store.update_run(run, status="done")
    store.put_rating(replace(RATING, run=run))
    store.gc(before=0)
    assert len(store.ratings(run)) == 1
    store.gc(before=time.time() + 1)
    assert store.ratings(run) == []


def test_a_split_begins_once_and_its_first_reason_to_stop_stays(store: Store) -> None:
    assert store.ab_test("s") is None
    first = store.put_ab_test("s", '{"v":1}')
    assert store.put_ab_test("s", '{"v":2}') == first
    assert store.put_outcome("i", "s", "A", "c") == ""
    store.stop_ab_test("s", "worse")
    store.stop_ab_test("s", "again")
    assert store.put_outcome("j", "s", "A", "c") == "worse"
    assert store.ab_test("s") == replace(first, stopped="worse")
    store.stop_ab_test("s", "")
    assert store.ab_tests() == [first]


def test_one_score_a_caller_counts_and_a_given_score_stays(store: Store) -> None:
    for id, arm, caller in (("1", "A", "x"), ("2", "A", "x"), ("3", "B", "y"), ("4", "A", "z"), ("5", "B", "w")):
        store.put_outcome(id, "s", arm, caller)
    store.put_outcome("6", "other", "A", "x")
    assert store.score_outcome("s", "nobody", 1.0) is None
    assert store.score_outcome("s", "6", 1.0) is None
    second = store.score_outcome("s", "2", 0.25)
    assert second is not None
    assert (second.arm, second.counts, second.score) == ("A", True, 0.25)
    first = store.score_outcome("s", "1", 1.0)
    assert first is not None
    assert not first.counts
    again = store.score_outcome("s", "2", 1.0)
    assert again is not None
    assert again.score == 0.25
    store.score_outcome("s", "3", 0.5)
    store.score_outcome("s", "4", 0.5)
    tally = store.tally("s")
    assert (tally["A"].answers, tally["A"].scored, tally["A"].callers, tally["A"].total) == (3, 3, 2, 0.75)
    assert tally["A"].mean == pytest.approx((0.25 + 1 + 0.5) / 3)
    assert (tally["B"].answers, tally["B"].scored, tally["B"].callers, tally["B"].total) == (2, 1, 1, 0.5)
    assert store.tally("nothing") == {}


def test_of_scores_that_come_at_once_one_counts(store: Store) -> None:
    for i in range(8):
        store.put_outcome(str(i), "s", "A", "one caller")
    threads = [threading.Thread(target=store.score_outcome, args=("s", str(i), 1.0)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store.tally("s")["A"].scored, store.tally("s")["A"].callers) == (8, 1)
