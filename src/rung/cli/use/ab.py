"""``rung ab``: what came back in an A/B test, with a test that may be looked at at any time."""

from __future__ import annotations

from typing import Annotated

import typer

from rung.cli.base.options import Json, StoreUrl


def ab(
    name: Annotated[str, typer.Argument(help="The test: what --as named it. None: list them.")] = "",
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Show both arms of an A/B test that is served by: rung serve A=DIR B=DIR --split A=0.9,B=0.1 --as NAME"""
    import json as codec

    from rung.core.codec import canonical
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.system.extras import require
    from rung.store import open_store

    for module in ("fastapi", "uvicorn"):
        require(module, "serving", "rung ab")

    from rung.serving.quality.ab import compare, report

    with open_store(Settings({"store": store}).store_url) as opened:
        if not name:
            for one in opened.ab_tests.all():
                typer.echo(f"{one.name}{': rolled back, ' + one.stopped if one.stopped else ''}")
            return
        split = opened.ab_tests.get(name)
        if split is None:
            known = ", ".join(one.name for one in opened.ab_tests.all())
            raise InputError(
                f"there is no A/B test {name!r}",
                remedy=f"known: {known}"
                if known
                else "begin one: rung serve A=DIR B=DIR --split A=0.9,B=0.1 --as NAME",
            )
        tally = opened.ab_tests.tally(split.name)
    if json:
        spec = codec.loads(split.spec)
        seen = compare(tally, [arm for arm, _ in spec["arms"]], spec["alpha"])
        typer.echo(canonical({"name": split.name, "stopped": split.stopped, "arms": tally, "look": seen}))
        return
    typer.echo(report(split, tally))
