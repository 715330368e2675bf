"""An A/B test in traffic: one model id whose callers go to A or B, always to the same, and what came back about the
answers.

Whether B is worse is asked after every score by a test that may be asked at any time (``rung.metrics.statistics.ab``);
once it is shown, all traffic goes to A.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rung.core.errors import InputError, RungError
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.endpoints.endpoint import Endpoint, WrappedEndpoint
from rung.serving.gateway.plan import Shares
from rung.store import ArmTally, Store, StoredABTest, StoredOutcome

if TYPE_CHECKING:
    from rung.metrics.statistics.ab import Look

logger = logging.getLogger("rung.serving")


@dataclass(frozen=True)
class ArmEndpoint(WrappedEndpoint):
    """An arm under the split's id."""

    split: str

    @property
    def id(self) -> str:
        return self.split


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where one request goes. ``by`` says what it was decided by: header, user, key, or request (nobody knows the
    caller)."""

    split: ABTest
    arm: str
    endpoint: Endpoint
    caller: str
    by: str

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"x-rung-arm", self.arm.encode("ascii", "backslashreplace")),
            (b"x-rung-split-by", self.by.encode()),
        ]

    async def note(self, id: str) -> None:
        """Keep that this arm gave the response ``id``. An answer is not held back because the store is in trouble."""
        try:
            why = await asyncio.to_thread(
                self.split.store.ab_tests.put_outcome, id, self.split.id, self.arm, self.caller
            )
            self.split.stopped = self.split.stopped or why
        except RungError as error:
            logger.error("the A/B test %s could not note a response: %s", self.split.id, error.message)

    async def fail(self, id: str, *, noted: bool) -> None:
        """An arm that gives no answer gets a score of 0: nobody can score what was never sent, and a B that is broken
        must lose its traffic."""
        if not noted:
            await self.note(id)
        try:
            await self.split.hear(id, 0.0)
        except RungError as error:
            logger.error("the A/B test %s could not note a failure: %s", self.split.id, error.message)


class ABTest:
    """A running A/B test. ``stopped`` says why all traffic goes to the first arm (empty: it does not)."""

    def __init__(self, shares: Shares, endpoints: Sequence[Endpoint], store: Store) -> None:
        by_id = {endpoint.id: endpoint for endpoint in endpoints}
        self.shares, self.store = shares, store
        self.arms: list[tuple[str, Endpoint]] = []
        for name, _ in shares.arms:
            found = by_id.get(name) or by_id.get(f"rung/{name}")
            if found is None:
                raise InputError(
                    f"--split: there is no {name!r} here; there is: {', '.join(by_id)}",
                    remedy=f"name a folder so: rung serve {name}=DIR",
                )
            self.arms.append((name, ArmEndpoint(found, shares.name)))
        if shares.name in by_id:
            raise InputError(f"--as {shares.name}: something else is offered so", remedy="give another --as NAME")
        wanted = {"arms": [[name, endpoint.fingerprint] for name, endpoint in self.arms], "alpha": shares.alpha}
        kept = store.ab_tests.put(shares.name, json.dumps({**wanted, "salt": secrets.token_hex(16)}))
        spec = json.loads(kept.spec)
        if {key: spec[key] for key in wanted} != wanted:
            raise InputError(
                f"the store has an A/B test {shares.name!r} of other programs, or with another alpha",
                remedy="begin a new one: --as ANOTHER-NAME",
            )
        self.salt = str(spec["salt"])
        self.stopped = kept.stopped

    @property
    def id(self) -> str:
        return self.shares.name

    @property
    def created(self) -> int:
        return max(endpoint.created for _, endpoint in self.arms)

    def choose(self, asked: ChatRequest, headers: Mapping[str, str], key: str) -> Assignment:
        """The arm for a request. ``key`` is the caller's API key, empty where none is asked for."""
        named = headers.get(self.shares.header, "") if self.shares.header else ""
        ways = (("header", named), ("user", asked.user or ""), ("key", key), ("request", secrets.token_hex(16)))
        by, identity = next(way for way in ways if way[1])
        # One hash for the draw and for the store, which never sees the identity itself.
        caller = hashlib.blake2b(f"{by}\0{identity}".encode(), digest_size=16, key=self.salt.encode()).hexdigest()
        drawn = int(caller[:16], 16) / 2**64
        first = bool(self.stopped) or drawn < self.shares.arms[0][1]
        arm, endpoint = self.arms[0 if first else 1]
        return Assignment(self, arm, endpoint, caller, by)

    async def hear(self, id: str, score: float) -> StoredOutcome | None:
        """Keep what came back about a response, and roll back where that proves B worse. None: no such response
        here."""
        found = await asyncio.to_thread(self.store.ab_tests.score_outcome, self.id, id, score)
        if found is not None and found.counts and not self.stopped and self.shares.rollback:
            await asyncio.to_thread(self._judge)
        return found

    def _judge(self) -> None:
        from rung.metrics.statistics.ab import Arm, against_equality

        tally = self.store.ab_tests.tally(self.id)
        names = [name for name, _ in self.arms]
        one, two = (tally.get(name, ArmTally()) for name in names)
        # In the common case the interval is not needed.
        if against_equality(Arm(one.callers, one.total), Arm(two.callers, two.total)) < math.log(1 / self.shares.alpha):
            return
        seen = compare(tally, names, self.shares.alpha)
        if seen.verdict != "worse":
            return
        d = seen.difference
        worse, better = self.arms[1][0], self.arms[0][0]
        why = f"{worse} is worse than {better} by {-d.value:.3f} [{-d.high:.3f}, {-d.low:.3f}], p {seen.p:.2g}"
        self.store.ab_tests.stop(self.id, why)
        self.stopped = why
        logger.warning("the A/B test %s is rolled back: %s", self.id, why)


def compare(tally: Mapping[str, ArmTally], arms: Sequence[str], alpha: float) -> Look:
    """The test over callers, each counted by the first of its answers that was scored."""
    from rung.metrics.statistics.ab import Arm, look

    one, two = (tally.get(name, ArmTally()) for name in arms)
    return look(Arm(one.callers, one.total), Arm(two.callers, two.total), alpha=alpha)


def report(split: StoredABTest, tally: Mapping[str, ArmTally]) -> str:
    """Both arms and the test, as plain text."""
    spec = json.loads(split.spec)
    names = [str(name) for name, _ in spec["arms"]]
    seen = compare(tally, names, spec["alpha"])
    width = max(3, *map(len, names))
    lines = [f"{split.name}: {names[1]} against {names[0]}", ""]
    lines.append(f"{'arm':<{width}}  answers  scored   mean  callers   mean")
    for name, arm in zip(names, (seen.a, seen.b), strict=True):
        row = tally.get(name, ArmTally())
        means = [f"{value:.3f}" if n else "-" for value, n in ((row.mean, row.scored), (arm.mean, arm.n))]
        lines.append(f"{name:<{width}}  {row.answers:7}  {row.scored:6}  {means[0]:>5}  {row.callers:7}  {means[1]:>5}")
    d = seen.difference
    lines += [
        "",
        f"{names[1]} - {names[0]} over callers (each counted once): {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]",
        f"p {seen.p:.3g}, valid whenever and however often you look; "
        f"at most {spec['alpha']:.0%} of tests of equal arms ever tell them apart",
        {
            "open": "no difference shown so far",
            "worse": f"{names[1]} is worse",
            "better": f"{names[1]} is better",
        }[seen.verdict],
    ]
    if split.stopped:
        lines.append(f"rolled back, all traffic goes to {names[0]}: {split.stopped}")
    return "\n".join(lines)
