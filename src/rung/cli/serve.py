"""``rung serve``: programs (and their bare model) behind an OpenAI-compatible URL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=]DIR...", help="Program folders made by: rung export RUN DIR")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: this machine only).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Offer the programs' bare models too.")] = False,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Offer this bare model too (provider:name).")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="A LoRA folder beside each --model, asked for as MODEL@NAME; no reload."),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="NAME",
            help="Search this collection: a page at /search and /v1/search. May be repeated.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="A=0.9,B=0.1", help="An A/B test: each arm's share of callers.")
    ] = "",
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The model id of the A/B test.")] = "",
    alpha: Annotated[float, typer.Option(help="Chance that the A/B test ever tells equal arms apart.")] = 0.05,
    rollback: Annotated[
        bool, typer.Option(help="Send all callers to the first arm once the second is proven worse.")
    ] = True,
    split_by: Annotated[
        str, typer.Option(metavar="HEADER", help="Header that names the caller (default: `user`, else the API key).")
    ] = "",
    key_file: Annotated[
        Path | None, typer.Option(help="File of SHA-256 hashes of API keys (default: $RUNG_API_KEYS).")
    ] = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Print a new API key once, keep its hash, and end.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Score over HTTP on the run's test examples first; refuse on a difference.")
    ] = False,
    details: Annotated[
        bool, typer.Option(help="Let callers ask for the steps behind an answer (prompts included).")
    ] = True,
    running: Annotated[int, typer.Option(min=1, help="Requests at work at once.")] = 64,
    waiting: Annotated[int, typer.Option(min=0, help="Requests in line; more get 503 with Retry-After.")] = 256,
    deadline: Annotated[float, typer.Option(min=0.1, help="Seconds that one request may take.")] = 300.0,
    grace: Annotated[float, typer.Option(min=1, help="Seconds that requests may go on after SIGTERM.")] = 30.0,
    record: Annotated[
        bool,
        typer.Option(
            "--record", help="Keep requests and answers in the store, to learn from: rung data import --served."
        ),
    ] = False,
    record_days: Annotated[
        int | None, typer.Option("--record-days", min=1, help="Record, and delete what is older than this many days.")
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Store URL: the runs of --check, the scores of --split, what --record keeps.")
    ] = None,
    body: Annotated[int, typer.Option(min=1024, help="Largest request body in bytes.")] = 4 * 1024 * 1024,
) -> None:
    """Serve programs over HTTP as OpenAI-compatible models, named rung/DIR."""
    from rung.core.errors import InputError

    if new_key:
        _new_key(key_file)
        return
    if not folders and not model and not search:
        raise InputError(
            "nothing to serve",
            remedy="name a program folder: rung serve DIR, or a collection: rung serve --search NAME",
        )

    from rung.core.extras import require

    for module in ("fastapi", "uvicorn"):
        require(module, "serving", "rung serve")

    from rung.serving.ab import read_shares
    from rung.serving.limits import Limits
    from rung.serving.run import Plan, run_server

    limits = Limits(body=body, running=running, waiting=waiting, deadline=deadline, grace=grace)
    plan = Plan(
        folders=tuple(folders or ()),
        models=tuple(model or ()),
        adapters=tuple(adapter or ()),
        search=tuple(dict.fromkeys(search or ())),
        raw=raw,
        host=host,
        port=port,
        key_file=key_file,
        check=check,
        details=details,
        limits=limits,
        store=store,
        record=record or record_days is not None,
        record_days=record_days,
        shares=read_shares(split, name, alpha=alpha, rollback=rollback, header=split_by) if split or name else None,
    )
    run_server(plan, typer.echo)


def _new_key(key_file: Path | None) -> None:
    import os

    from rung.serving.keys import VARIABLE, add_key, new_key

    named = os.environ.get(VARIABLE)
    path = key_file or (Path(named) if named else None)
    if path is not None:
        key = add_key(path)
        typer.echo(f"its hash was added to {path}; the key itself is shown only now:", err=True)
        typer.echo(key)
        return
    key, line = new_key()
    typer.echo(f"put this line into a file and pass it with --key-file:\n{line}", err=True)
    typer.echo("the key, shown only now:", err=True)
    typer.echo(key)
