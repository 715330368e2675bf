"""A race of proposals over dev: successive halving (Karnin et al. 2013), in which the shown losers are stopped at
once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from rung.metrics.statistics.sequential import Race
from rung.prompts.search.optimize.cost import stages
from rung.prompts.search.optimize.population import Population, PromptCandidate

Answering = Callable[[PromptCandidate, Sequence[int]], Awaitable[None]]


async def race(
    prompts: Population, everyone: Sequence[PromptCandidate], order: Sequence[int], answer: Answering
) -> list[PromptCandidate]:
    """Those that have answered all of dev at the end: one, or none when all were shown to be worse than the best.

    ``order``: the dev examples as they come; ``answer`` has a candidate answer some of them. The first error ends the
    race.
    """
    racing = list(everyone)
    races = {one.id: Race(0.0, rivals=len(racing)) for one in racing}
    plan = stages(len(everyone), len(order))
    before = 0
    for _, seen in plan:
        wave, before = order[before:seen], seen
        if not wave or not racing:
            continue
        await _all(answer, racing, wave)
        alive = []
        for one in racing:
            mine, theirs = [one.scores[i] for i in wave], [prompts.best.scores[i] for i in wave]
            if races[one.id].look(prompts.metric, mine, theirs):
                one.fate, one.beaten = f"stopped after {seen}: shown to be worse than the best", True
            else:
                alive.append(one)
        alive.sort(key=lambda one: (-prompts.promise(one), one.tokens / len(one.scores), one.id))
        room = next((n for n, upto in plan if upto > seen), 1)
        for one in alive[room:]:
            one.fate = f"halved out after {seen}"
        racing = alive[:room]
    return racing


async def _all(answer: Answering, racing: Sequence[PromptCandidate], wave: Sequence[int]) -> None:
    async def one(candidate: PromptCandidate) -> None:
        await answer(candidate, wave)

    try:
        async with asyncio.TaskGroup() as group:
            for candidate in racing:
                group.create_task(one(candidate))
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
