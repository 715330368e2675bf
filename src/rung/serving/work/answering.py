"""How a program's answers to many inputs are made: in this process, or on Ray's workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rung.core.errors import BudgetExceeded, InputError
from rung.core.parts.meter import check, metered, report
from rung.core.system.ray import RayStep, spread
from rung.core.types import Answer, Budget, Failure, Input, Usage
from rung.models import Pool
from rung.serving.endpoints.local import Opened, open_folder, run_program

Answered = list[tuple[str, Answer]]
"""Answers by key."""


async def answer_here(opened: Opened, todo: Mapping[str, Input], size: int) -> AsyncIterator[Answered]:
    """Answers to ``todo``, in its order, ``size`` of them at a time."""
    for keys in _cut(list(todo), size):
        inputs = [todo[key] for key in keys]
        answers = [one async for one in run_program(opened.program, inputs, concurrency=size)]
        yield list(zip(keys, answers, strict=True))


async def answer_on_ray(opened: Opened, todo: Mapping[str, Input], size: int) -> AsyncIterator[Answered]:
    """The same by Ray's workers, ``size`` inputs a task. A budget is looked at between tasks: those at work when it is
    spent are paid for and given out, the others failed by it. Raises InputError where a worker's program is another
    one, and as ``core.system.ray`` does."""
    folder = opened.folder.resolve()
    groups = [
        [_Share(folder, opened.fingerprint, keys, [todo[key] for key in keys])] for keys in _cut(list(todo), size)
    ]
    left = dict(todo)
    with closing(spread(groups, [RayStep(_answer)])) as found:
        for answered, usage in found:
            report(usage)
            for key, _ in answered:
                del left[key]
            yield answered
            try:
                check()
            except BudgetExceeded as error:
                failed = Failure("budget", error.message)
                yield [(key, Answer(None, failure=failed)) for key in left]
                return


def _cut(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


# ---------------------------------------------------------------- in a worker


@dataclass(frozen=True, slots=True)
class _Share:
    """Inputs that one task answers, by the program of a folder."""

    folder: Path
    fingerprint: str
    keys: Sequence[str]
    inputs: Sequence[Input]


def _answer(share: _Share) -> Iterator[tuple[Answered, Usage]]:
    opened = _opened(share.folder, share.fingerprint)

    async def work() -> list[Answer]:
        return [one async for one in run_program(opened.program, share.inputs, concurrency=len(share.inputs))]

    with metered(Budget()) as meter:
        answers = asyncio.run(work())
    yield list(zip(share.keys, answers, strict=True)), meter.total


@cache
def _opened(folder: Path, fingerprint: str) -> Opened:
    """The program, opened once a worker."""
    opened = open_folder(folder, Pool())
    if opened.fingerprint != fingerprint:
        raise InputError(
            f"the program {folder} of a Ray worker is not the one that was opened here",
            remedy="put the same folder and the same model's weights there, or leave --on ray out",
        )
    return opened
