"""One link of a chain: endpoints that give the same answers, of which the best one for a request is asked.

``least-busy`` asks the one with the least work before it (in flight times its mean seconds, by weight; of more than
eight, the better of two drawn: Mitzenmacher 2001), ``round-robin`` each in turn, ``weighted`` by chance, ``prefix`` the
one that a request's beginning hashes to (rendezvous hashing), where its engine still knows that prompt, unless it is
much busier.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rung.serving.access.call import current
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.gateway.member import RouteMember, to_blame
from rung.serving.gateway.timeouts import AnswerStream, Timeouts

Balance = Literal["least-busy", "round-robin", "weighted", "prefix"]

PREFIX = 2048
"""Characters of a request's beginning that decide where it goes (about 512 tokens)."""

SPREAD = 4
"""How many more requests in flight than the idlest the member of a prefix may have before another one is asked."""


class RetryBudget:
    """Tries beyond the first: a fifth of a try comes with each request, and a few are there from the start (Finagle's
    way), so that a backend in trouble does not get its load twice over."""

    def __init__(self, share: float = 0.2, reserve: float = 10.0) -> None:
        self.share, self.most = share, reserve
        self.left = reserve

    def deposit(self) -> None:
        self.left = min(self.most, self.left + self.share)

    def take(self) -> bool:
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass
class Route:
    """``retries``: further members (or the same one again) that one request may try before anything of an answer was
    given out."""

    members: Sequence[RouteMember]
    balance: Balance = "least-busy"
    timeouts: Timeouts = Timeouts()
    retries: int = 1
    rng: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        self._turn = itertools.count()
        self._budget = RetryBudget()

    @property
    def name(self) -> str:
        return "|".join(member.name for member in self.members)

    def pick(self, request: ChatRequest, without: Sequence[RouteMember] = ()) -> RouteMember | None:
        """The member to ask, of those whose circuit is closed and that were not tried; None: there is none."""
        ready = [member for member in self.members if not member.open and member not in without]
        ready = [member for member in ready if member.clock() >= member.rests_until] or ready
        if len(ready) < 2:
            return ready[0] if ready else None
        if self.balance == "round-robin":
            return ready[next(self._turn) % len(ready)]
        if self.balance == "weighted":
            return self._draw(ready)
        if self.balance == "prefix":
            return self._near(ready, request)
        if len(ready) > 8:
            ready = [self._draw(ready), self._draw(ready)]
        return self._idlest(ready)

    async def start(
        self, request: ChatRequest, *, live: bool, allowed: Callable[[RouteMember], Awaitable[Refused | None]]
    ) -> AnswerStream:
        """The answer of the first member that begins one. ``allowed`` says why a member must not be asked (None: it
        may)."""
        tried: list[RouteMember] = []
        failure: Refused | None = None
        self._budget.deposit()
        while len(tried) <= self.retries:
            member = self.pick(request, tried)
            if member is None and tried and len(self.members) == 1 and not tried[0].open:
                member = tried[0]  # alone: the same one again
            if member is None or (tried and not self._budget.take()):
                break
            if (no := await allowed(member)) is not None:
                failure = failure or no
                tried.append(member)
                continue
            try:
                return await AnswerStream(
                    member, member.endpoint.reply(request, live=live), self.timeouts, live=live
                ).begin()
            except Refused as error:
                if not to_blame(error):
                    raise
                failure = error
                tried.append(member)
                current().tries.append(f"{member.name}: {error.code or error.status}")
        if failure is None:
            opens = min((member.opens_at - member.clock() for member in self.members), default=1.0)
            said = f"{self.name} does not answer at the moment"
            failure = Refused(503, said, code="no_endpoint", retry_after=max(1.0, opens))
        raise failure

    def _draw(self, ready: Sequence[RouteMember]) -> RouteMember:
        at = self.rng() * sum(member.weight for member in ready)
        for member in ready:
            at -= member.weight
            if at <= 0:
                return member
        return ready[-1]

    def _idlest(self, ready: Sequence[RouteMember]) -> RouteMember:
        known = [member.seconds for member in ready if member.seconds]
        usual = sum(known) / len(known) if known else 1.0
        first = next(self._turn)  # equals are taken in turn

        def work(at: int) -> tuple[float, int]:
            member = ready[at]
            return (member.in_flight + 1) * (member.seconds or usual) / member.weight, (at - first) % len(ready)

        return ready[min(range(len(ready)), key=work)]

    def _near(self, ready: Sequence[RouteMember], request: ChatRequest) -> RouteMember:
        text = "\0".join(f"{message.role}\1{message.content}" for message in request.messages)[:PREFIX]

        def score(member: RouteMember) -> bytes:
            return hashlib.blake2b(f"{member.name}\0{text}".encode("utf-8", "replace"), digest_size=8).digest()

        best = max(ready, key=score)
        idlest = min(member.in_flight for member in ready)
        return best if best.in_flight - idlest <= SPREAD else self._idlest(ready)
