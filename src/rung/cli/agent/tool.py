"""``rung tool``: what agents may call, tried by hand, and served over MCP."""

from __future__ import annotations

import asyncio
import json as codec
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rung.cli.base.options import Json, assigned_values
from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.protocols import Closing, Tool

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Entry = Annotated[
    str,
    typer.Argument(
        metavar="TOOL",
        help="calculator, code, files:FOLDER, sql:FILE, web:URL, index:NAME, openapi:FILE, mcp:SERVER, python:FILE.py:NAME, langchain:FILE.py:NAME.",
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="An option of the tool, as YAML; may be repeated: --set write=true."
    ),
]


@app.callback()
def tool() -> None:
    """What agents may call: list the kinds, look at one, try a call, serve them over MCP."""


@app.command("list")
def list_kinds(json: Json = False) -> None:
    """List the kinds of tools, with the target and options that each takes."""
    import inspect
    from textwrap import fill

    lines = []
    for name in sorted(registry.usable("tool")):
        opener = registry.load("tool", name)
        options = [item for item in inspect.signature(opener).parameters if item not in ("target", "options")]
        module = inspect.getdoc(inspect.getmodule(opener)) or ""
        lines.append({"name": name, "about": module.partition("\n\n")[0].replace("``", ""), "options": options})
    if json:
        typer.echo(codec.dumps(lines, indent=2))
        return
    for line in lines:
        extra = f" Options: {', '.join(line['options'])}." if line["options"] else ""
        typer.echo(fill(f"{line['about']}{extra}", 79, break_long_words=False, break_on_hyphens=False) + "\n")


@app.command()
def show(entry: Entry, set_: Options = None, json: Json = False) -> None:
    """Show the tools of an entry: what each does, its arguments, and whether a call may be repeated."""
    tools = opened(entry, set_)
    if json:
        about = [
            {"name": t.name, "description": t.description, "schema": t.schema, "effect": t.effect, "returns": t.returns}
            for t in tools
        ]
        typer.echo(codec.dumps(about, indent=2, ensure_ascii=False))
    for item in () if json else tools:
        typer.echo(f"{item.name}: {item.description}\n  effect: {item.effect}, returns: {item.returns}")
        required = item.schema.get("required", ())
        for name, schema in item.schema.get("properties", {}).items():
            kind = schema.get("type") or schema.get("enum") or schema.get("$ref") or schema.get("anyOf") or "any"
            told = f" {schema['description']}" if isinstance(schema, dict) and schema.get("description") else ""
            typer.echo(f"  {name}{'' if name in required else ' (optional)'}: {kind}{told}")
    if entry.startswith("mcp:") and not json:
        from rung.agents.tools.net.mcp import pin_of

        typer.echo(f"pin: {pin_of(tools)}")  # type: ignore[arg-type]
    asyncio.run(_close(tools))


@app.command()
def call(
    entry: Entry,
    arguments: Annotated[
        str, typer.Argument(metavar="ARGUMENTS", help='JSON, such as \'{"expression": "1/3"}\'.')
    ] = "{}",
    name: Annotated[str, typer.Option("--name", help="Which one, where the entry has several.")] = "",
    set_: Options = None,
) -> None:
    """Call a tool and print what an agent would get."""
    from rung.agents.loop.limits import EpisodeLimits
    from rung.agents.loop.toolset import clean

    try:
        given = codec.loads(arguments)
    except ValueError as error:
        raise InputError(f"the arguments are no JSON: {error}", remedy='write \'{"name": "value"}\'') from None
    if not isinstance(given, dict):
        raise InputError(
            f"got {type(given).__name__} as arguments, expected a JSON object", remedy="write '{\"name\": ...}'"
        )
    tools = opened(entry, set_)
    chosen = [item for item in tools if item.name == name or (not name and len(tools) == 1)]
    if not chosen:
        raise InputError(
            f"{entry} has {len(tools)} tools" + (f", none is named {name!r}" if name else ""),
            remedy=f"add --name: {', '.join(item.name for item in tools)}",
        )

    async def work() -> str:
        try:
            return await chosen[0].call(given, key="")
        finally:
            await _close(tools)

    typer.echo(clean(asyncio.run(work()), EpisodeLimits().bytes))


@app.command()
def serve(
    entries: Annotated[list[str], typer.Argument(metavar="TOOL...", help="One or more tools (rung tool list).")],
    http: Annotated[
        bool, typer.Option("--http", help="Over HTTP at /mcp, not over standard input and output.")
    ] = False,
    host: Annotated[str, typer.Option(help="With --http: the address of this machine to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="With --http: the port.")] = 8323,
) -> None:
    """Serve tools over the Model Context Protocol, for agents of any make."""
    from rung.agents.tools.net.serve import serve_stdio, web_app

    tools = [item for entry in entries for item in opened(entry, None)]
    if not http:
        asyncio.run(serve_stdio(tools))
        return
    from rung.core.system.extras import require

    uvicorn = require("uvicorn", "mcp", "serving tools over HTTP")
    typer.echo(f"{len(tools)} tools at http://{host}:{port}/mcp", err=True)
    uvicorn.run(web_app(tools), host=host, port=port, log_level="warning")


def opened(entry: str, options: Sequence[str] | None) -> tuple[Tool, ...]:
    """The tools of an entry of the command line."""
    from rung.agents.tools import open_tools

    name, _, target = entry.partition(":")
    if name in ("files", "sql", "openapi") and target and "://" not in target:
        target = str(Path(target).absolute())
    return open_tools({"name": name, "target": target, **assigned_values(options or ())})


async def _close(tools: Sequence[Tool]) -> None:
    for item in tools:
        if isinstance(item, Closing):
            await item.close()
