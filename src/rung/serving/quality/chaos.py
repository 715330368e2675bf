"""A gateway under faults: its endpoints fail as real ones do, and every request is answered all the same, or told why
not.

Faults are put around the endpoints of a gateway's file, by chance with a seed: 500, 429, no answer at all, a stream
that is cut, text that is none. What is asked goes through routes, chains, circuits and retries as they are.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from rung.serving.access.call import RequestCall, enter
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice, Piece, WrappedEndpoint
from rung.serving.gateway.chain import Chain, Link
from rung.serving.gateway.route import Route
from rung.serving.gateway.timeouts import Timeouts

FAULTS = ("error", "busy", "stall", "cut", "garbage")


@dataclass(frozen=True)
class Faulty(WrappedEndpoint):
    """An endpoint of which a ``share`` of the answers goes wrong."""

    share: float
    rng: random.Random
    met: Counter[str]

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        fault = self.rng.choice(FAULTS) if self.rng.random() < self.share else ""
        if fault:
            self.met[fault] += 1
        await asyncio.sleep(self.rng.uniform(0.001, 0.02))  # so that requests are at work beside one another
        if fault == "error":
            raise Refused(502, "the model's server answered with status 500", code="model_failed")
        if fault == "busy":
            raise Refused(429, "the model's server has too much to do", code="rate_limited", retry_after=0.2)
        if fault == "garbage":
            raise Refused(502, "the model's server answered with something that is no completion", code="model_failed")
        if fault == "stall":
            await asyncio.Event().wait()
        async with aclosing(self.inner.reply(request, live=live)) as events:
            async for event in events:
                if fault == "cut" and isinstance(event, ChatChoice):
                    raise Refused(
                        502, "the model's server ended its stream before the answer was whole", code="stream_cut"
                    )
                yield event


@dataclass
class ChaosReport:
    """How requests ended. ``failed`` are those without an answer (by status), ``broken`` streams that told of their end
    by an error; ``silent`` (0, or there is a defect) streams that ended without one. ``tries`` counts calls of
    endpoints."""

    requests: int = 0
    served: Counter[str] = field(default_factory=Counter)
    degraded: int = 0
    failed: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    silent: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    tries: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Answers with a status of 500 or above."""
        return sum(count for status, count in self.failed.items() if status >= 500)


async def provoke(
    chains: Mapping[str, Chain], requests: int, share: float, seed: int, patience: float
) -> dict[str, ChaosReport]:
    """Ask each chain ``requests`` times, every second one as a stream. ``patience``: seconds instead of the file's
    timeouts."""
    found: dict[str, ChaosReport] = {}
    for id, chain in chains.items():
        report = found[id] = ChaosReport(requests)
        faulty = _with_faults(chain, share, random.Random(seed), report, patience)
        gate = asyncio.Semaphore(16)

        async def one(
            at: int, faulty: Chain = faulty, report: ChaosReport = report, gate: asyncio.Semaphore = gate
        ) -> None:
            async with gate:
                await _ask(faulty, at, report)

        await asyncio.gather(*(asyncio.create_task(one(at)) for at in range(requests)))
    return found


def _with_faults(chain: Chain, share: float, rng: random.Random, report: ChaosReport, patience: float) -> Chain:
    links: list[Link] = []
    for link in chain.links:
        if isinstance(link, Route):
            members = [
                replace(
                    member,
                    endpoint=Faulty(member.endpoint, share, rng, report.faults),
                    breaker=replace(member.breaker, seconds=min(member.breaker.seconds, patience)),
                )
                for member in link.members
            ]
            link = Route(members, link.balance, Timeouts(patience, patience, patience), link.retries)
        links.append(link)
    return Chain(chain.id, chain.created, links)


async def _ask(chain: Chain, at: int, report: ChaosReport) -> None:
    call = RequestCall()
    enter(call)
    messages = [{"role": "user", "content": f"What is {at} and {at}?"}]
    request = ChatRequest.model_validate(
        {"model": chain.id, "messages": messages, "stream": at % 2 == 1, "max_tokens": 8}
    )
    began = time.perf_counter()
    pieces, whole = 0, False
    try:
        async with aclosing(chain.reply(request, live=at % 2 == 1)) as events:
            async for event in events:
                pieces += isinstance(event, Piece)
                whole = whole or isinstance(event, ChatChoice)
    except Refused as error:
        if pieces:
            report.broken += 1
        else:
            report.failed[error.status] += 1
    else:
        report.silent += not whole
        report.served[call.served_by] += 1
        report.degraded += bool(call.degraded)
    report.tries += len(call.tries) + 1
    report.seconds.append(time.perf_counter() - began)


def table(found: Mapping[str, ChaosReport]) -> str:
    """What was seen, as text."""
    lines = []
    for id, report in found.items():
        faults = ", ".join(f"{count} {name}" for name, count in sorted(report.faults.items())) or "none"
        lines.append(f"{id}: {report.requests} requests, faults met: {faults}")
        for name, count in report.served.most_common():
            lines.append(f"  {count:6}  answered by {name}")
        lines.append(f"  {report.degraded:6}  of them marked as degraded")
        for status, count in sorted(report.failed.items()):
            lines.append(f"  {count:6}  refused with {status}")
        lines.append(f"  {report.broken:6}  streams that broke off after they had begun, each told by an error")
        lines.append(f"  {report.silent:6}  answers cut without a word")
        most = sorted(report.seconds)[int(0.99 * (len(report.seconds) - 1))] if report.seconds else 0.0
        lines.append(
            f"  {report.tries / max(1, report.requests):6.2f}  calls a request; 99 of 100 answers within {most:.2f} s"
        )
    return "\n".join(lines)
