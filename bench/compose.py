"""Two task adapters made into one: what each task loses against its own adapter.

    python bench/compose.py --task ADAPTER ROWS --task ADAPTER ROWS [--limit 100] [--hows cat,linear,stack]

ADAPTER is a folder that ``rung tune`` wrote, ROWS a file of test rows with answers, which the adapter has not seen. LoRA answers in
the embedded engine beside its base, bottleneck modules through transformers; greedy, an answer is right when it is the row's own
word for word. Differences are to the task's own adapter on the same rows, with 95% intervals (Tango).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rung.core.settings import Settings
from rung.core.types import Message, Request, Sampling, Score
from rung.data.read import read as read_records
from rung.metrics import load_metric
from rung.metrics.stats import interval, paired
from rung.models.adapters import compose
from rung.models.engine.openvino import model as openvino
from rung.models.providers.transformers import model as transformers

WEIGHTS = {"cat": ((1.0, 1.0), (0.5, 0.5)), "linear": ((1.0, 1.0), (0.5, 0.5)), "stack": ((), ())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", nargs=2, action="append", metavar=("ADAPTER", "ROWS"), type=Path, required=True)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--hows", default="cat,linear,stack")
    options = parser.parse_args()
    folders = [folder for folder, _ in options.task]
    kind = compose.read(folders[0]).kind
    print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {kind}, {options.limit} rows a task")
    tasks = [rows(path, options.limit) for _, path in options.task]
    own = [score(kind, folder, asked) for folder, asked in zip(folders, tasks, strict=True)]
    metric = load_metric("accuracy", None)  # type: ignore[arg-type]
    line("its own adapter", [f"{interval(metric, found).value:.3f}" for found in own])
    for place, folder in enumerate(folders):
        found = [own[at] if at == place else score(kind, folder, asked) for at, asked in enumerate(tasks)]
        report(f"adapter {place + 1} alone", metric, found, own)
    with tempfile.TemporaryDirectory() as scratch:
        for how in options.hows.split(","):
            for number, weights in enumerate(WEIGHTS[how]):
                to = Path(scratch) / f"{how}{number}"
                if how == "stack":
                    ordered = folders[:: 1 - 2 * number]
                    compose.stack(ordered, to)
                    name = "stack " + " then ".join(str(folders.index(folder) + 1) for folder in ordered)
                else:
                    compose.merge(folders, weights, how, to)
                    name = f"merge {how} {','.join(f'{weight:g}' for weight in weights)}"
                report(name, metric, [score(kind, to, asked) for asked in tasks], own)


def rows(path: Path, limit: int) -> list[tuple[tuple[Message, ...], str]]:
    talks = [record.messages for record in read_records([path])][:limit]
    return [(tuple(talk[:-1]), talk[-1].content) for talk in talks]


def score(kind: str, folder: Path, asked: Sequence[tuple[tuple[Message, ...], str]]) -> list[Score]:
    return asyncio.run(ask(kind, folder, asked))


async def ask(kind: str, folder: Path, asked: Sequence[tuple[tuple[Message, ...], str]]) -> list[Score]:
    model = (
        openvino.open_model(f"{compose.read(folder).base}@{folder}", Settings())
        if kind == "LORA"
        else transformers.open_model(str(folder), Settings())
    )
    try:
        replies = await model.generate([Request(messages, Sampling(max_tokens=12)) for messages, _ in asked])
    finally:
        await model.close()
    return [Score(float(reply.text.strip() == right)) for reply, (_, right) in zip(replies, asked, strict=True)]


def report(name: str, metric: object, found: Sequence[list[Score]], own: Sequence[list[Score]]) -> None:
    cells = []
    for one, other in zip(found, own, strict=True):
        if one is other:
            cells.append(f"{interval(metric, one).value:.3f}")  # type: ignore[arg-type]
            continue
        gap = paired(metric, one, other)  # type: ignore[arg-type]
        cells.append(f"{interval(metric, one).value:.3f} ({gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}])")  # type: ignore[arg-type]
    line(name, cells)


def line(name: str, cells: Sequence[str]) -> None:
    print(f"| {name} | {' | '.join(cells)} |  {time.strftime('%H:%M:%S')}", flush=True)


if __name__ == "__main__":
    main()
