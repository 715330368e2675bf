"""Agreement among liars, in rounds over a network that loses nothing: by word of mouth, n > 3f (Lamport, Shostak, Pease
1982: each says what the others said), and signed, any f < n (Dolev and Strong 1983: nobody can put words into another's
mouth)."""

from __future__ import annotations

import random
from itertools import permutations
from typing import Literal

from rung.core.errors import InputError
from rung.teams.consensus.network import Faults, Schedule

VALUES = ("a", "b")
DEFAULT = "a"
MOST = 20_000
"""Things said by word of mouth by one member to another: they grow as n to the power of f + 1."""

Way = Literal["oral", "signed"]


def tolerates(n: int, faults: Faults, way: Way = "oral") -> str:
    """Why these faults are more than it is made for; nothing where they are not."""
    if faults.drop or faults.partition or faults.crash:
        return "it is made for liars on a network that loses nothing"
    if way == "oral" and n <= 3 * faults.lie:
        return f"{faults.lie} liars need {3 * faults.lie + 1} members where nothing is signed"
    return f"all {n} members lie" if n <= faults.lie else ""


def one(n: int, faults: Faults, seed: int, way: Way = "oral") -> Schedule:
    """One schedule: every member has a value of its own; the honest must decide alike, and for their value where all of
    them have the same (signed: and they are more than the liars)."""
    draw = random.Random(f"byzantine {seed}")
    liars = frozenset(draw.sample(range(n), min(n, faults.lie)))
    honest = [at for at in range(n) if at not in liars]
    same = draw.random() < 0.5
    first = draw.choice(VALUES)
    values = [first if same else draw.choice(VALUES) for _ in range(n)]
    heard, messages = (_oral if way == "oral" else _signed)(n, faults.lie, values, liars, draw)
    decided = {}
    for me in honest:  # each has a value for each: the most common one
        said = [values[me] if other == me else heard[me][other] for other in range(n)]
        decided[me] = max(VALUES, key=lambda value: (said.count(value), value == DEFAULT))
    found = []
    if len(set(decided.values())) > 1:
        found.append("honest members decided differently")
    wishes = {values[me] for me in honest}
    more = way == "oral" or n > 2 * faults.lie  # where liars are as many, what they say they want counts as much
    if more and len(wishes) == 1 and any(value not in wishes for value in decided.values()):
        found.append("honest members that all wanted the same decided otherwise")
    return Schedule(tuple(found), True, messages)


def _oral(
    n: int, f: int, values: list[str], liars: frozenset[int], draw: random.Random
) -> tuple[list[dict[int, str]], int]:
    """What each member takes each other one's value to be, by f + 1 rounds of exponential information gathering."""
    paths: list[list[tuple[int, ...]]] = [list(permutations(range(n), deep)) for deep in range(f + 2)]
    if sum(map(len, paths)) > MOST:
        raise InputError(f"{n} members with {f} liars say too much", remedy="give fewer of both: -n 7 --faults lie:2")
    # said[me][path]: what me was told that path's last said that ... its first said.
    said: list[dict[tuple[int, ...], str]] = [{} for _ in range(n)]
    messages = 0
    for deep in range(1, f + 2):
        for path in paths[deep]:
            *before, speaker = path
            for me in range(n):
                true = values[speaker] if not before else said[speaker].get(tuple(before), DEFAULT)
                said[me][path] = draw.choice(VALUES) if speaker in liars and me != speaker else true
            messages += n - 1

    def resolve(me: int, path: tuple[int, ...]) -> str:
        """The majority of what those who are not on the path say of it."""
        if len(path) == f + 1:
            return said[me][path]
        below = [resolve(me, (*path, other)) for other in range(n) if other not in path]
        if not below:
            return said[me][path]
        return max(VALUES, key=lambda value: (below.count(value), value == DEFAULT))

    return [{other: resolve(me, (other,)) for other in range(n)} for me in range(n)], messages


def _signed(
    n: int, f: int, values: list[str], liars: frozenset[int], draw: random.Random
) -> tuple[list[dict[int, str]], int]:
    """What each member takes each other one's value to be. A message is a value with the chain of those who have signed
    it; a liar signs what it likes, holds back what it likes, and has the keys of the other liars, but of nobody
    else."""
    heard: list[dict[int, str]] = [{} for _ in range(n)]
    messages = 0
    for general in range(n):
        known: list[set[str]] = [set() for _ in range(n)]
        known[general] = {values[general]}
        sent: list[tuple[int, int, str, tuple[int, ...]]] = []
        for to in range(n):
            if to != general:
                value = draw.choice(VALUES) if general in liars else values[general]
                sent.append((general, to, value, (general,)))
        for number in range(1, f + 2):
            messages += len(sent)
            following: list[tuple[int, int, str, tuple[int, ...]]] = []
            for _, to, value, chain in sent:
                if len(set(chain)) < number or chain[0] != general or value in known[to]:
                    continue
                known[to].add(value)
                following += [
                    (to, other, value, (*chain, to))
                    for other in range(n)
                    if other not in (to, general) and not (to in liars and draw.random() < 0.5)
                ]
            if general in liars:  # another value, late, to some, with the names of all the liars under it
                signed = (general, *(liar for liar in liars if liar != general))[: number + 1]
                following += [
                    (general, to, draw.choice(VALUES), signed)
                    for to in range(n)
                    if to not in liars and len(signed) == number + 1 and draw.random() < 0.5
                ]
            sent = following
        for me in range(n):
            heard[me][general] = next(iter(known[me])) if len(known[me]) == 1 else DEFAULT
    return heard, messages
