"""``rung serve``: programs (and their bare model) behind an OpenAI-compatible URL."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import expand
from rung.core.errors import InputError
from rung.core.system.extras import require
from rung.serving.access.keys import VARIABLE, add_key
from rung.serving.access.keys import new_key as make_key
from rung.serving.gateway.plan import ABOptions, ServePlan
from rung.serving.http.limits import Limits


@expand
def serve(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=]DIR...", help="Program folders made by: rung export RUN DIR")
    ] = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Print a new API key once, keep its hash, and end.")
    ] = False,
    *,
    plan: ServePlan,
    test: ABOptions,
    limits: Limits,
) -> None:
    """Serve programs over HTTP as OpenAI-compatible models, named rung/DIR."""
    if new_key:
        _new_key(plan.key_file)
        return
    if not folders and not plan.model and not plan.search and not plan.embedder and plan.config is None:
        raise InputError(
            "nothing to serve",
            remedy="name a program folder: rung serve DIR, a collection: rung serve --search NAME, or a gateway's file: --config FILE",
        )
    for module in ("fastapi", "uvicorn", "httptools", "orjson"):
        if find_spec(module) is None:  # it is not imported here: a gateway that only forwards does without FastAPI
            require(module, "serving", "rung serve")
    if plan.mcp and find_spec("mcp") is None:
        require("mcp", "mcp", "rung serve --mcp")
    if plan.graphql:
        require("strawberry", "graphql", "rung serve --graphql")

    from rung.serving.http.process.run import run_server

    chosen = replace(
        plan,
        folders=tuple(folders or ()),
        search=tuple(dict.fromkeys(plan.search)),
        limits=limits,
        shares=test.shares(),
    )
    run_server(chosen, typer.echo)


def _new_key(key_file: Path | None) -> None:
    named = os.environ.get(VARIABLE)
    path = key_file or (Path(named) if named else None)
    if path is not None:
        key = add_key(path)
        typer.echo(f"its hash was added to {path}; the key itself is shown only now:", err=True)
        typer.echo(key)
        return
    key, line = make_key()
    typer.echo(f"put this line into a file and pass it with --key-file:\n{line}", err=True)
    typer.echo("the key, shown only now:", err=True)
    typer.echo(key)
