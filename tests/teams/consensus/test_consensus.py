"""Promises hold within what a protocol tolerates, and beyond it they are seen to break: also the checker can fail."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.teams.consensus import quorum, raft
from rung.teams.consensus.network import Faults
from rung.teams.consensus.raft import RaftMember
from rung.teams.consensus.simulate import PROTOCOLS, simulate
from rung.teams.consensus.tally import tally


@pytest.mark.parametrize(
    ("protocol", "n", "faults"),
    [
        ("raft", 5, Faults(crash=2, drop=0.1, duplicate=0.1, partition=0.3)),
        ("raft", 3, Faults(crash=1, back=0)),
        ("two-phase", 4, Faults(crash=2, drop=0.1, duplicate=0.1)),
        ("quorum", 5, Faults(crash=2, drop=0.1, duplicate=0.2)),
        ("majority", 5, Faults(lie=2)),
        ("weighted", 3, Faults(lie=1, duplicate=0.5)),
        ("ranked", 5, Faults(lie=2)),
        ("votes-quorum", 5, Faults(lie=2)),
        ("byzantine", 4, Faults(lie=1)),
        ("byzantine", 7, Faults(lie=2)),
        ("byzantine-signed", 3, Faults(lie=1)),
        ("byzantine-signed", 5, Faults(lie=3)),
    ],
)
def test_promises_hold_within_what_is_tolerated(protocol: str, n: int, faults: Faults) -> None:
    found = simulate(protocol, n, faults, schedules=40)
    assert found.beyond == ""
    assert found.broken == ()
    assert found.decided.value > 0.9


@pytest.mark.parametrize(
    ("protocol", "n", "faults"),
    [
        ("majority", 4, Faults(lie=2)),
        ("ranked", 4, Faults(lie=2)),
        ("byzantine", 3, Faults(lie=1)),
        ("byzantine", 6, Faults(lie=2)),
        ("raft", 3, Faults(lie=0, crash=3, back=0)),
    ],
)
def test_beyond_it_they_break_or_nothing_is_decided(protocol: str, n: int, faults: Faults) -> None:
    found = simulate(protocol, n, faults, schedules=60)
    if protocol == "raft":  # it stops, it does not err
        assert found.broken == ()
    else:
        assert found.beyond
        assert found.broken


def test_two_phase_blocks_where_its_coordinator_stays_away() -> None:
    found = [PROTOCOLS["two-phase"].one(4, Faults(crash=3, back=0), seed) for seed in range(60)]
    assert not any(one.broken for one in found)
    assert not all(one.decided for one in found)


def test_quorums_that_do_not_meet_are_seen_to_break() -> None:
    faults = Faults(drop=0.3)
    assert any(quorum.one(5, faults, seed, write=2, read=2).broken for seed in range(80))


class VotesTwice(RaftMember):
    """Forgets whom it has voted for."""

    def _ask(self, sender: int, message: Mapping[str, Any]) -> None:
        self.stable["voted"] = None
        super()._ask(sender, message)


class CommitsAlone(RaftMember):
    """Takes for committed what it has itself."""

    def _advance(self) -> None:
        self._committed(len(self.log))


@pytest.mark.parametrize("wrong", [VotesTwice, CommitsAlone])
def test_a_raft_that_errs_is_caught(wrong: type[RaftMember]) -> None:
    faults = Faults(crash=2, partition=0.6, drop=0.1)
    assert any(raft.one(5, faults, seed, wrong).broken for seed in range(80))


def test_a_schedule_is_the_same_again() -> None:
    faults = Faults(crash=1, drop=0.2)
    assert [raft.one(3, faults, 7) for _ in range(2)] == [raft.one(3, faults, 7)] * 2


def test_votes_are_counted() -> None:
    assert tally({"a": 1, "b": 2, "c": 2}).value == 2
    assert tally({"a": 1, "b": 2}).value == 1
    assert tally({"a": None, "b": None}).value is None
    assert tally({"a": {"x": 1}, "b": {"x": 1}, "c": 3}).share == pytest.approx(2 / 3)
    weighed = tally({"a": "x", "b": "y", "c": "y"}, "weighted", weights={"a": 5.0})
    assert weighed.value == "x"
    assert weighed.share == pytest.approx(5 / 7)
    assert tally({"a": "x", "b": "y", "c": "y"}, "quorum", quorum=3).value is None
    assert tally({"a": "x", "b": "y", "c": "y"}, "quorum").value == "y"
    # x has most first places, y is liked best when z is struck.
    ranked = {"a": ["x", "y"], "b": ["x", "y"], "c": ["y", "x"], "d": ["z", "y"], "e": ["y"]}
    assert tally(ranked, "ranked").value == "y"


@pytest.mark.parametrize(
    "votes",
    [{"a": "text"}, {"a": ["x", "x"]}],
)
def test_a_ranking_must_be_one(votes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        tally(votes, "ranked")


@pytest.mark.parametrize("text", ["crash:x", "hurry:1", "drop:2", "crash:-1"])
def test_faults_that_are_none(text: str) -> None:
    with pytest.raises(InputError):
        Faults.of(text)


def test_faults_are_read() -> None:
    assert Faults.of("crash:2, drop:0.1,lie") == Faults(crash=2, drop=0.1, lie=1)


def test_ranked_votes_with_random_ballots_end() -> None:
    draw = random.Random(3)
    for _ in range(200):
        ballots = {str(at): draw.sample("abcde", draw.randint(0, 5)) for at in range(draw.randint(0, 7))}
        found = tally(ballots, "ranked")
        assert (found.value is None) == (not any(ballots.values()))
