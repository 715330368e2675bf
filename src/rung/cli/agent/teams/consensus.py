"""``rung consensus``: protocols under faults."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from typing import Annotated

import typer

from rung.cli.base.options import Json

app = typer.Typer(help="Play agreement protocols with faults injected.", rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def consensus() -> None:
    """Play agreement protocols with faults injected."""


@app.command("sim")
def sim(
    protocol: Annotated[
        str,
        typer.Argument(
            help="majority, weighted, ranked, votes-quorum, quorum, two-phase, raft, byzantine, byzantine-signed."
        ),
    ],
    n: Annotated[int, typer.Option("-n", help="Members.")] = 5,
    faults: Annotated[str, typer.Option(help="crash:2,lie:1,drop:0.1,duplicate:0.1,partition:0.3,back:0.")] = "",
    seed: Annotated[int, typer.Option(help="Of the first schedule; the next ones count on.")] = 0,
    schedules: Annotated[int, typer.Option(min=1, help="How many schedules.")] = 1000,
    json: Json = False,
) -> None:
    """Play many schedules of a protocol and count its broken promises. Exit code 1 where one was broken within what it
    tolerates."""
    from rung.ladder.view.numbers import quality
    from rung.teams.consensus.network import Faults
    from rung.teams.consensus.simulate import simulate

    found = simulate(protocol, n, Faults.of(faults), seed, schedules)
    if json:
        typer.echo(dumps(asdict(found), ensure_ascii=False))
    else:
        typer.echo(f"{protocol}, {n} members, {faults or 'no faults'}: {found.schedules:,} schedules from seed {seed}")
        typer.echo(f"decided: {quality(found.decided)}; {found.messages:.0f} messages a schedule")
        for what, count, first in found.broken:
            typer.echo(f"broken: {what}, in {count:,} of {found.schedules:,} schedules (the first: --seed {first})")
        if not found.broken:
            typer.echo("every promise was kept in every schedule")
        if found.beyond:
            typer.echo(f"beyond what it tolerates: {found.beyond}")
    if found.broken and not found.beyond:
        raise typer.Exit(1)
