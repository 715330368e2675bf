"""``rung run``: answer with a program folder, or ask a model directly."""

from __future__ import annotations

import asyncio
import json as codec
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.settings import Settings
from rung.core.types import Message, Request, ResponseFormat, Sampling
from rung.models import Pool, open_model


@dataclass(frozen=True)
class Inputs:
    """What a program answers."""

    item: tuple[str, ...] = option((), "An input, or FIELD=TEXT for each of its fields.", flags=("-i",), metavar="TEXT")
    input: Path | None = option(None, "Inputs as JSONL; - reads standard input.", metavar="FILE")
    json: bool = option(False, "Print everything about each answer, one JSON object a line.", flags=("--json",))


@dataclass(frozen=True)
class Prompted:
    """What a model is asked."""

    model: str | None = option(None, "Ask this model: provider:name.", flags=("-m", "--model"), metavar="MODEL")
    prompt: str | None = option(
        None, "What to ask it; - reads standard input.", flags=("-p", "--prompt"), metavar="TEXT"
    )
    system: str | None = option(None, "System message.", metavar="TEXT")
    json_schema: Path | None = option(
        None, "The answer must be JSON valid under it.", flags=("--json-schema",), metavar="FILE"
    )


def run(
    inputs: Inputs,
    asked: Prompted,
    sampling: Sampling,
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="A program made by: rung export RUN DIR")] = None,
) -> None:
    """Answer inputs with a program, or stream a model's answer to a prompt, on this machine."""
    alone = asked.model is not None or asked.prompt is not None
    if folder is None and alone:
        _ask(asked, sampling)
    elif folder is None:
        raise InputError(
            "nothing to run", remedy='name a program folder: rung run DIR -i "..."; or: rung run -m MODEL -p "..."'
        )
    elif alone:
        raise InputError("got a program folder and a model or prompt", remedy='give DIR -i "...", or -m MODEL -p "..."')
    else:
        _run_program(folder, inputs)


def _run_program(folder: Path, inputs: Inputs) -> None:
    from rung.serving.endpoints.local import run_folder

    settings = Settings()
    if inputs.item and inputs.input is not None:
        raise InputError("got an input and a file of inputs", remedy=f"leave one out: rung run {folder} -i TEXT")
    given = inputs.input if inputs.input is not None else list(inputs.item)

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    async def work() -> int:
        async with Pool(settings) as pool:
            failures = await run_folder(
                folder, given, pool, whole=inputs.json, concurrency=settings["concurrency"], write=write
            )
        for failure in failures if inputs.input is None and len(inputs.item) <= 1 and not inputs.json else ():
            typer.echo(f"rung: no answer ({failure.where}): {failure.message}", err=True)
        return len(failures)

    if asyncio.run(work()):
        raise typer.Exit(1)


def _ask(asked: Prompted, sampling: Sampling) -> None:
    settings = Settings()
    if asked.prompt is None:
        raise InputError("a model but no prompt", remedy=f'type: rung run -m {asked.model} -p "..."')
    text = sys.stdin.read() if asked.prompt == "-" else asked.prompt
    messages = (*((Message("system", asked.system),) if asked.system else ()), Message("user", text))
    request = Request(messages, sampling, _json_form(asked.json_schema))
    asyncio.run(_stream(asked.model or str(settings["model"]), request, settings))


def _json_form(path: Path | None) -> ResponseFormat:
    if path is None:
        return ResponseFormat()
    try:
        schema = codec.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read the schema: {error}", file=path, remedy="give a file with a JSON schema"
        ) from None
    if not isinstance(schema, dict):
        raise InputError("expected a JSON object", file=path, remedy="give a file with a JSON schema")
    return ResponseFormat("json", schema=schema)


async def _stream(name: str, request: Request, settings: Settings) -> None:
    """The answer to stdout as it comes; what it took to stderr."""
    opened = open_model(name, settings)
    reply = None
    try:
        began = time.monotonic()
        first = last = 0.0
        async with aclosing(opened.stream(request)) as pieces:
            async for chunk in pieces:
                if chunk.text:
                    last = time.monotonic()
                    first = first or last
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
    after = last - first  # 0: it came in one piece
    more = used.completion_tokens - 1
    rate = f"{more / after:.1f} tokens/s after the first, which took" if after > 0 and more > 0 else "in"
    taken = first - began if after > 0 else ended - began
    loading = " with loading" if opened.capabilities.local else ""
    money = "" if opened.capabilities.local else f", ${used.money:.6f}" if opened.priced else ", unpriced"
    typer.echo(
        f"[{reply.model}: {used.completion_tokens} tokens, {rate} {taken:.2f} s{loading}; "
        f"prompt {used.prompt_tokens} tokens{money}; finish: {reply.finish}]",
        err=True,
    )
