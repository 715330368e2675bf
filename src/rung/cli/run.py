"""``rung run``: answer with a program folder, or ask a model directly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rung.core.settings import Settings
    from rung.core.types import Request, ResponseFormat, Sampling


def run(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="A program made by: rung export RUN DIR")] = None,
    item: Annotated[
        list[str] | None, typer.Option("-i", metavar="TEXT", help="An input, or FIELD=TEXT for each of its fields.")
    ] = None,
    input: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="Inputs as JSONL; - reads standard input.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print everything about each answer, one JSON object a line.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="MODEL", help="Ask this model: provider:name.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("-p", "--prompt", metavar="TEXT", help="What to ask it; - reads standard input.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="TEXT", help="System message.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option("--top-p", min=0.0, max=1.0, help="Nucleus; 1 cuts nothing.")] = 1.0,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="0 cuts nothing.")] = 0,
    seed: Annotated[int, typer.Option(help="Equal seeds, equal answers (local models).")] = 0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer.")] = 256,
    beams: Annotated[int, typer.Option(min=1, help="Above 1: beam search.")] = 1,
    json_schema: Annotated[
        Path | None, typer.Option("--json-schema", metavar="FILE", help="The answer must be JSON valid under it.")
    ] = None,
) -> None:
    """Answer inputs with a program, or stream a model's answer to a prompt, on this machine."""
    from rung.core.errors import InputError

    if folder is None and (model is not None or prompt is not None):
        from rung.core.types import Sampling

        sampling = Sampling(temperature, top_p, top_k, max_tokens, seed, beams=beams)
        _ask(model, prompt, system, sampling, json_schema)
        return
    if folder is None:
        raise InputError(
            "nothing to run", remedy='name a program folder: rung run DIR -i "..."; or: rung run -m MODEL -p "..."'
        )
    if model is not None or prompt is not None:
        raise InputError("got a program folder and a model or prompt", remedy='give DIR -i "...", or -m MODEL -p "..."')
    _run_program(folder, tuple(item or ()), input, json)


def _run_program(folder: Path, given: tuple[str, ...], file: Path | None, whole: bool) -> None:
    import asyncio
    import sys

    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.serving.local import run_folder

    settings = Settings()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    async def work() -> int:
        async with Pool(settings) as pool:
            failures = await run_folder(
                folder, given, file, pool, whole=whole, concurrency=settings["concurrency"], write=write
            )
        for failure in failures if file is None and len(given) <= 1 and not whole else ():
            typer.echo(f"rung: no answer ({failure.where}): {failure.message}", err=True)
        return len(failures)

    if asyncio.run(work()):
        raise typer.Exit(1)


def _ask(model: str | None, prompt: str | None, system: str | None, sampling: Sampling, schema: Path | None) -> None:
    import asyncio
    import sys

    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.types import Message, Request

    settings = Settings()
    if prompt is None:
        raise InputError("a model but no prompt", remedy=f'type: rung run -m {model} -p "..."')
    text = sys.stdin.read() if prompt == "-" else prompt
    messages = (*((Message("system", system),) if system else ()), Message("user", text))
    request = Request(messages, sampling, _json_form(schema))
    asyncio.run(_stream(model or str(settings["model"]), request, settings))


def _json_form(path: Path | None) -> ResponseFormat:
    import json

    from rung.core.errors import InputError
    from rung.core.types import ResponseFormat

    if path is None:
        return ResponseFormat()
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read the schema: {error}", file=path, remedy="give a file with a JSON schema"
        ) from None
    if not isinstance(schema, dict):
        raise InputError("expected a JSON object", file=path, remedy="give a file with a JSON schema")
    return ResponseFormat("json", schema=schema)


async def _stream(name: str, request: Request, settings: Settings) -> None:
    """The answer to stdout as it comes; what it took to stderr."""
    import sys
    import time
    from contextlib import aclosing

    from rung.models import open_model

    opened = open_model(name, settings)
    reply = None
    try:
        began = time.monotonic()
        first = 0.0
        async with aclosing(opened.stream(request)) as pieces:
            async for chunk in pieces:
                if chunk.text:
                    first = first or time.monotonic()
                    sys.stdout.write(chunk.text)
                    sys.stdout.flush()
                reply = chunk.reply
        ended = time.monotonic()
    finally:
        await opened.close()
    sys.stdout.write("\n")
    sys.stdout.flush()
    if reply is None:
        return
    for call in reply.tool_calls:
        typer.echo(f"tool call: {call.name} {dict(call.arguments)}", err=True)
    used = reply.usage
    after = ended - first if first else 0.0
    rate = f"{(used.completion_tokens - 1) / after:.1f} tokens/s after the first, which took" if after > 0 else "in"
    taken = first - began if after > 0 else ended - began
    loading = " with loading" if opened.capabilities.local else ""
    money = "" if opened.capabilities.local else f", ${used.money:.6f}" if opened.priced else ", unpriced"
    typer.echo(
        f"[{reply.model}: {used.completion_tokens} tokens, {rate} {taken:.2f} s{loading}; "
        f"prompt {used.prompt_tokens} tokens{money}; finish: {reply.finish}]",
        err=True,
    )
