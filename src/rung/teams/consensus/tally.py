"""From votes to one value: majority, weighted, ranked, quorum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rung.core.codec import canonical
from rung.core.errors import InputError

Rule = Literal["majority", "weighted", "ranked", "quorum"]
RULES: tuple[Rule, ...] = ("majority", "weighted", "ranked", "quorum")


@dataclass(frozen=True, slots=True)
class Tally:
    """What was decided: ``value`` (None: nothing), the share of all weight that stands behind it, and each value's
    weight in the order in which values came."""

    value: Any
    share: float
    weights: tuple[tuple[Any, float], ...]


def tally(
    votes: Mapping[str, Any], rule: Rule = "majority", *, weights: Mapping[str, float] | None = None, quorum: int = 0
) -> Tally:
    """Decide by the votes of members by name; a vote that is None is none.

    ``majority``: the value with most votes (a plurality), of equal ones the one that was named first. ``weighted``:
    each vote counts as its member's weight (1 where none is given). ``ranked``: each vote is a list, the best first;
    instant run-off (the last is struck until one has more than half of those that still rank one). ``quorum``: a value
    with at least ``quorum`` votes (0: more than half of all members), else nothing.

    Raises InputError for a rule or a vote that is none.
    """
    if rule not in RULES:
        raise InputError(f"got rule {rule!r}", remedy=f"one of {', '.join(RULES)}")
    given = {member: vote for member, vote in votes.items() if vote is not None}
    if rule == "ranked":
        return _run_off(given, len(votes))
    weighing = weights or {}
    if rule == "weighted" and any(weight < 0 or weight != weight for weight in weighing.values()):
        raise InputError(f"got weights {dict(weighing)}", remedy="expected numbers of 0 or more")
    names: dict[str, Any] = {}
    counts: dict[str, float] = {}
    for member, vote in given.items():
        key = canonical(vote)
        names.setdefault(key, vote)
        counts[key] = counts.get(key, 0.0) + (weighing.get(member, 1.0) if rule == "weighted" else 1.0)
    everything = sum(weighing.get(member, 1.0) if rule == "weighted" else 1.0 for member in votes)
    listed = tuple((names[key], count) for key, count in counts.items())
    if not counts or not everything:
        return Tally(None, 0.0, listed)
    best = max(counts, key=lambda key: counts[key])
    needed = (quorum or len(votes) // 2 + 1) if rule == "quorum" else 0
    return Tally(None if counts[best] < needed else names[best], counts[best] / everything, listed)


def _run_off(votes: Mapping[str, Any], members: int) -> Tally:
    ballots: list[list[str]] = []
    names: dict[str, Any] = {}
    for member, vote in votes.items():
        if not isinstance(vote, Sequence) or isinstance(vote, str):
            raise InputError(f"the vote of {member} is {vote!r}", remedy="a ranked vote is a list, the best first")
        keys = [canonical(choice) for choice in vote]
        if len(set(keys)) != len(keys):
            raise InputError(f"{member} ranks a value twice", remedy="name each value once")
        names |= {key: choice for key, choice in zip(keys, vote, strict=True) if key not in names}
        ballots.append(keys)
    first = [(name, float(sum(bool(ballot) and ballot[0] == key for ballot in ballots))) for key, name in names.items()]
    left = list(names)
    while left:
        counts = dict.fromkeys(left, 0)
        for ballot in ballots:
            top = next((key for key in ballot if key in counts), None)
            if top is not None:
                counts[top] += 1
        best = max(left, key=lambda key: counts[key])
        if 2 * counts[best] > sum(counts.values()) or len(left) == 1:
            return Tally(names[best], counts[best] / members if members else 0.0, tuple(first))
        left.remove(min(reversed(left), key=lambda key: counts[key]))
    return Tally(None, 0.0, tuple(first))
