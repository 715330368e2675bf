"""``rung agent play``: many scenarios of an environment, one after another, each an episode that is kept."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal, cast

import typer

from rung.cli.agent.options import AgentChanges
from rung.cli.base.options import StoreUrl

Split = Annotated[str, typer.Option(metavar="NAME", help="Scenarios of train, dev or test; they never overlap.")]


def play(
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT", help="An environment: NAME, or NAME:FOLDER.")],
    changes: AgentChanges,
    split: Split = "train",
    count: Annotated[int, typer.Option(min=1, help="How many scenarios, the first ones.")] = 20,
    store: StoreUrl = None,
) -> None:
    """Play scenarios of an environment; episodes that were played before are not played again. Those that were solved
    become training rows: rung agent rows."""
    from rung.agents.loop.episode import Episode
    from rung.agents.program.file import make_agent
    from rung.agents.program.program import make_environment
    from rung.agents.trace.steps import judged
    from rung.core.errors import InputError
    from rung.core.parts.place import within
    from rung.core.settings import Settings
    from rung.ladder.view.numbers import quality
    from rung.metrics.stats import wilson
    from rung.models import Pool
    from rung.store import open_store

    if split not in ("train", "dev", "test"):
        raise InputError(f"got --split {split!r}", remedy="write --split train, dev or test")
    settings = Settings({"store": store})

    async def run() -> tuple[int, int]:
        solved = 0
        given = changes.given()
        seed = int(given.pop("seed"))
        user = given.pop("user")
        if given.pop("scenario"):
            raise InputError(
                "play takes the first --count scenarios of --split, got --scenario",
                remedy=f"rung agent run {environment}:{changes.scenario}",
            )
        scenarios = make_environment(environment).scenarios(cast(Literal["train", "dev", "test"], split), count)
        if not scenarios:
            raise InputError(f"{environment} has no scenarios of {split}", remedy="take another --split")
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as opened, within(None, settings.store_url):
                program, trail = (
                    make_agent({"environment": environment, **given}, pool),
                    opened.episodes.trail("normal"),
                )
                for scenario in scenarios:
                    start = program.start({"scenario": scenario, "user": user}, seed)
                    id = program.episode(start, changes.conversation)
                    view = await Episode(program.agent(), id, trail).run(start)
                    verdict = (view.ended or {}).get("verdict") or {"solved": False}
                    solved += bool(verdict["solved"])
                    said = judged(verdict) if view.ended is not None else f"not ended: {view.waiting or 'paused'}"
                    typer.echo(f"{scenario:>8} {id} {view.steps} steps, {view.usage.tokens:,} tokens, {said}", err=True)
                await program.close()
        return solved, len(scenarios)

    solved, n = asyncio.run(run())
    typer.echo(f"{environment}, {split}: solved {solved} of {n}, {quality(wilson(solved, n))}")
