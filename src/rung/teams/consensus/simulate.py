"""Protocols by name, and many schedules of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rung.core.errors import InputError
from rung.core.parts.problem import nearest
from rung.core.types import Interval
from rung.metrics.stats import wilson
from rung.teams.consensus import ballot, byzantine, quorum, raft, two_phase
from rung.teams.consensus.network import Faults, Schedule


@dataclass(frozen=True, slots=True)
class Protocol:
    """``one`` plays a schedule; ``tolerates`` says why faults are more than it is made for, or nothing."""

    one: Callable[[int, Faults, int], Schedule]
    tolerates: Callable[[int, Faults], str]


PROTOCOLS: dict[str, Protocol] = {
    "majority": Protocol(partial(ballot.one, rule="majority"), ballot.tolerates),
    "weighted": Protocol(partial(ballot.one, rule="weighted"), ballot.tolerates),
    "ranked": Protocol(partial(ballot.one, rule="ranked"), ballot.tolerates),
    "votes-quorum": Protocol(partial(ballot.one, rule="quorum"), ballot.tolerates),
    "quorum": Protocol(quorum.one, quorum.tolerates),
    "two-phase": Protocol(two_phase.one, two_phase.tolerates),
    "raft": Protocol(raft.one, raft.tolerates),
    "byzantine": Protocol(partial(byzantine.one, way="oral"), partial(byzantine.tolerates, way="oral")),
    "byzantine-signed": Protocol(partial(byzantine.one, way="signed"), partial(byzantine.tolerates, way="signed")),
}


@dataclass(frozen=True, slots=True)
class Simulation:
    """``schedules`` of a protocol: in how many each promise was broken, with the first seed that shows it; in which
    share all honest members that were up decided; messages a schedule. ``beyond``: why the faults are more than it
    tolerates."""

    protocol: str
    n: int
    schedules: int
    broken: tuple[tuple[str, int, int], ...]
    decided: Interval
    messages: float
    beyond: str


def simulate(name: str, n: int, faults: Faults, seed: int = 0, schedules: int = 1000) -> Simulation:
    """Play schedules with the seeds ``seed``, ``seed`` + 1, ... Raises InputError for a protocol or numbers that there
    are not."""
    if name not in PROTOCOLS:
        raise InputError(f"there is no protocol {name!r}", remedy=nearest(name, PROTOCOLS))
    if not 1 <= n <= 100 or schedules < 1:
        raise InputError(
            f"got {n} members and {schedules} schedules", remedy="expected 1 to 100 members, 1 schedule or more"
        )
    if faults.crash + faults.lie > n:
        raise InputError(f"{faults.crash} crash and {faults.lie} lie of {n} members", remedy="give a larger -n")
    chosen = PROTOCOLS[name]
    counts: Counter[str] = Counter()
    first: dict[str, int] = {}
    decided = messages = 0
    for at in range(seed, seed + schedules):
        found = chosen.one(n, faults, at)
        decided += found.decided
        messages += found.messages
        for what in found.broken:
            counts[what] += 1
            first.setdefault(what, at)
    broken = tuple((what, count, first[what]) for what, count in counts.most_common())
    share = wilson(decided, schedules)
    return Simulation(name, n, schedules, broken, share, messages / schedules, chosen.tolerates(n, faults))
