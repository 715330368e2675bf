"""A program folder opened and run on this machine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.codec import encode, spell
from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts.place import within
from rung.core.protocols import Program, Resources, Streaming
from rung.core.types import Answer, Failure, Input
from rung.models import Pool


@dataclass(frozen=True, slots=True)
class Opened:
    """A program with what its folder says about it. ``fields`` are its inputs in the order that it was evaluated with.

    ``verified`` says whether the parity queue passed it; None: it was not made by ``rung export``. ``intact`` is False
    when the program is not the one that was saved: program.json was edited, or the model behind it is another one now.
    """

    name: str
    folder: Path
    program: Program
    fields: tuple[str, ...]
    fingerprint: str
    notes: Mapping[str, Any]
    verified: bool | None
    intact: bool = True


def open_folder(folder: Path, resources: Resources, *, name: str = "") -> Opened:
    """Load the program in ``folder``. Raises InputError when there is none or it is damaged."""
    document = programs.read(folder)
    notes = document["notes"]
    program = programs.load(folder, resources)
    options = document["spec"].get("options")
    fields = (options.get("fields") if isinstance(options, Mapping) else None) or notes.get("fields") or ["text"]
    if not isinstance(fields, list) or not all(isinstance(name, str) and name for name in fields):
        raise InputError(
            "the names of the input's fields are damaged",
            file=folder / "program.json",
            remedy="export the program again",
        )
    fingerprint = programs.fingerprint(program)
    intact = fingerprint == document["fingerprint"]
    verified = notes.get("verified")
    return Opened(
        name or folder.resolve().name,
        folder,
        program,
        tuple(fields),
        fingerprint,
        notes,
        None if verified is None else bool(verified) and intact,
        intact,
    )


def open_agent(file: Path, pool: Pool, name: str = "") -> Opened:
    """The agent of a file, as a program of one text. Raises InputError at the line of a mistake."""
    from rung.agents.program.file import read_agent

    with within(file.parent, pool.settings.store_url):
        program = read_agent(file, pool)
    return Opened(name or file.stem, file.parent, program, ("text",), programs.fingerprint(program), {}, None)


def open_any(target: str, pool: Pool) -> Opened:
    """A program folder, or an agent file. Raises InputError for what is neither."""
    place = Path(target)
    return open_agent(place, pool) if place.is_file() else open_folder(place, pool)


def as_fields(value: Any, fields: Sequence[str]) -> Input:
    """``value`` (a text for a single field, an object for any) as a program's input, its fields in their order.

    Raises InputError that names what is missing or not a text. Fields that the program does not know are left out.
    """
    if isinstance(value, str) and len(fields) == 1:
        return {fields[0]: value}
    wanted = json.dumps(dict.fromkeys(fields, "..."), ensure_ascii=False)
    if not isinstance(value, Mapping):
        raise InputError(f"expected an object with the fields {', '.join(fields)}", remedy=f"give {wanted}")
    missing = [name for name in fields if name not in value]
    if missing:
        raise InputError(f"the input lacks {', '.join(missing)}", remedy=f"give {wanted}")
    wrong = [name for name in fields if not isinstance(value[name], str)]
    if wrong:
        raise InputError(f"the input's {', '.join(wrong)} is not a text", remedy=f"give {wanted}")
    return {name: value[name] for name in fields}


def read_inputs(given: Sequence[str], fields: Sequence[str]) -> list[Input]:
    """What ``-i`` was given: texts, each an input of its own, or ``FIELD=TEXT`` for each field of one input."""
    if len(fields) == 1:
        start = f"{fields[0]}="
        return [{fields[0]: text.removeprefix(start)} for text in given]
    example = " ".join(f"-i {name}=..." for name in fields)
    value: dict[str, str] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        if not equals or name not in fields:
            raise InputError(f"got -i {text[:60]!r}, expected one of the fields {', '.join(fields)}", remedy=example)
        if name in value:
            raise InputError(f"the field {name} is given twice", remedy=example)
        value[name] = rest
    if missing := [name for name in fields if name not in value]:
        raise InputError(f"the input lacks {', '.join(missing)}", remedy=example)
    return [as_fields(value, fields)]


def read_file(path: Path, fields: Sequence[str]) -> list[Input]:
    """Inputs from a JSONL file (``-``: standard input): each line a JSON string or an object of the program's fields.

    An object may hold the input under ``input``, as exported examples do. Raises InputError naming file and line.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read it: {error.strerror}", file=path, remedy="name a JSONL file") from None
    inputs = []
    for line, raw in enumerate(data.splitlines(), 1):
        if not raw.strip():
            continue
        try:
            value = json.loads(raw)
        except ValueError as error:
            raise InputError(
                f"not valid JSON: {error}", file=path, line=line, remedy="write one JSON value a line"
            ) from None
        if isinstance(value, dict) and isinstance(value.get("input"), dict | str) and "input" not in fields:
            value = value["input"]
        try:
            inputs.append(as_fields(value, fields))
        except InputError as error:
            raise InputError(error.message, file=path, line=line, remedy=error.remedy) from None
    if not inputs:
        raise InputError("it holds no inputs", file=path, remedy="write one JSON value a line")
    return inputs


async def run_program(
    ask: Callable[[Input], Awaitable[Answer]], inputs: Sequence[Input], *, concurrency: int = 64
) -> AsyncGenerator[Answer]:
    """Answers in the order of ``inputs``, each given out as soon as it and all before it are there."""
    queue = asyncio.Semaphore(concurrency)

    async def work(input: Input) -> Answer:
        async with queue:
            return await programs.attempt(ask, input)

    tasks = [asyncio.create_task(work(input)) for input in inputs]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stream_answer(program: Program, input: Input) -> AsyncGenerator[str | Answer]:
    """Pieces of the answer's text, then the Answer. A program that cannot stream gives its whole text as one piece.

    The pieces joined are the text of the output (or its beginning, where the answer failed on the way).
    """
    given = False
    last: Answer | None = None
    if isinstance(program, Streaming):
        async with aclosing(program.stream(input)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Answer):
                    last = piece
                else:
                    given = True
                    yield piece
    else:
        last = await program(input)
    if last is None:
        last = Answer(None, failure=Failure("program", "the program's stream ended without an answer"))
    if not given and last.failure is None:
        yield spell(last.output)
    yield last


async def run_folder(
    folder: Path,
    given: Sequence[str] | Path,
    resources: Resources,
    *,
    whole: bool = False,
    concurrency: int = 64,
    write: Callable[[str], None],
) -> list[Failure]:
    """What ``rung run DIR`` does: answer ``-i`` texts or a JSONL file (a Path) and ``write`` the answers; returns the
    failures.

    A single ``-i`` is written as text while it comes. Several inputs, a file, or ``whole`` (everything that an Answer
    holds) are written as one JSON object a line, in the order of the inputs.
    Raises InputError for a damaged folder and for inputs that do not fit the program.
    """
    opened = open_folder(folder, resources)
    if given == []:
        example = " ".join(f"-i {name}=..." for name in opened.fields) if len(opened.fields) > 1 else '-i "..."'
        raise InputError("expected an input, or a file of inputs", remedy=f"type: rung run {folder} {example}")
    texts = not isinstance(given, Path)
    inputs = read_inputs(given, opened.fields) if not isinstance(given, Path) else read_file(given, opened.fields)
    if len(inputs) == 1 and texts and not whole:
        last = await _show(opened.program, inputs[0], write)
        return [last.failure] if last.failure is not None else []
    failures = []
    async with aclosing(run_program(opened.program, inputs, concurrency=concurrency)) as answers:
        index = 0
        async for one in answers:
            row: dict[str, Any] = {"input": dict(inputs[index]), "output": one.output}
            if one.confidence is not None:
                row["confidence"] = one.confidence
            if one.failure is not None:
                failures.append(one.failure)
                row["failure"] = encode(one.failure)
            if whole:
                row |= {"raw": one.raw, "steps": encode(one.steps), "usage": encode(one.usage)}
            write(json.dumps(row, ensure_ascii=False) + "\n")
            index += 1
    return failures


async def _show(program: Program, input: Input, write: Callable[[str], None]) -> Answer:
    last = Answer(None)
    begun = False
    async with aclosing(stream_answer(program, input)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Answer):
                last = piece
            else:
                begun = True
                write(piece)
    if begun:
        write("\n")
    return last
