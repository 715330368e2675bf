"""What a climb is expected to cost, before it asks anything: calls, tokens, money and time for each rung."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from rung.core.errors import RungError
from rung.core.protocols import Context, Model, Predictable, Program, Resources, Trainable
from rung.core.rung import make_rung
from rung.core.settings import Settings
from rung.core.types import Answer, Example, Message, Request, Result, Sampling, Score, Task, Usage
from rung.ladder.climb import Using, plan
from rung.ladder.view.table import count, money, seconds
from rung.models import Pool
from rung.models.prices import find
from rung.prompts.patterns.written import beside

SAMPLE = 8
"""Examples whose prompts are rendered and counted; the rest is taken to be like them."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected usage of one rung. ``seconds`` is None where nothing is known about the model's speed."""

    title: str
    usage: Usage = Usage()
    seconds: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of a local model: reading a prompt, and writing with one request in flight."""

    prefill: float
    decode: float


async def forecast(task: Task, settings: Settings, resources: Resources) -> list[Forecast]:
    """A forecast for every rung of the climb. Prompts are really built and counted; no answer is asked.

    New tokens are counted at their limit, so that the forecast is an upper bound there. A rung whose fit is a training
    says how many tokens it will train on; how long that takes, its pre-flight tells.
    """
    with beside(task, settings):
        return await _forecast(task, settings, resources)


async def _forecast(task: Task, settings: Settings, resources: Resources) -> list[Forecast]:
    speeds: dict[str, Speed | None] = {}
    out: list[Forecast] = []
    for entry in plan(task, settings):
        rung = make_rung(entry.choice)
        using = Using(resources, entry.model)
        if obstacle := rung.obstacle(task, using):
            out.append(Forecast(entry.title, note=f"skipped: {obstacle}"))
            continue
        if entry.model and entry.model not in speeds:
            speeds[entry.model] = await measure(using.model())
        if isinstance(rung, Trainable):
            out.append(
                Forecast(entry.title, rung.forecast(task, using), None, "tokens to train on; answers come on top")
            )
            continue
        asked: list[tuple[Program, int]] = []

        async def evaluate(
            program: Program, examples: Sequence[Example], asked: list[tuple[Program, int]] = asked
        ) -> list[Result]:
            asked.append((program, len(examples)))
            blank = {name: Score(0.0) for name in task.metrics}
            return [Result(example, Answer(None), blank) for example in examples]

        with tempfile.TemporaryDirectory() as folder:
            try:
                program = await rung.fit(task, Context(using, Path(folder), evaluate))
            except RungError as error:
                out.append(Forecast(entry.title, note=f"cannot be fitted: {error.message}"))
                continue
            asked.append((program, len(task.test)))
            total, uncached = Usage(), 0.0
            for one, n in asked:
                usage, fresh = _of(one, task.test[:SAMPLE], n)
                total, uncached = total + usage, uncached + fresh
        speed = speeds.get(entry.model) if entry.model else None
        took = uncached / speed.prefill + total.completion_tokens / (4 * speed.decode) if speed else None
        if total.calls and entry.model:
            price = find(using.model().name, settings["prices"])
            total = replace(total, money=price.money(total) if price is not None else 0.0)
        out.append(Forecast(entry.title, total, took if total.calls else 0.0))
    return out


def _of(program: Program, sample: Sequence[Example], n: int) -> tuple[Usage, float]:
    """Usage of ``n`` answers of a program, and how many of its prompt tokens no earlier prompt shares."""
    if not isinstance(program, Predictable) or not sample or program.model is None:
        return Usage(), 0.0
    each = [program.forecast(example.input) for example in sample]
    mean = sum((one for one, _ in each), Usage())
    scale = n / len(sample)
    prompts = [messages for _, messages in each]
    shared = _shared(program.model, prompts)
    usage = Usage(round(mean.calls * scale), round(mean.prompt_tokens * scale), round(mean.completion_tokens * scale))
    # A chain's second call goes on from the first one's prompt, so only the first call's own part is new.
    fresh = sum(program.model.count(messages) - shared for messages in prompts) * scale + shared
    return usage, fresh


def _shared(model: Model, prompts: Sequence[Sequence[Message]]) -> int:
    common = 0
    while all(len(p) > common for p in prompts) and len({p[common] for p in prompts}) == 1:
        common += 1
    return model.count(prompts[0][:common]) if common and len(prompts) > 1 else 0


async def measure(model: Model) -> Speed | None:
    """Time a local model on one prompt; None for a hosted one (asking it would cost money)."""
    if not model.capabilities.local:
        return None
    words = "The quick brown fox jumps over the lazy dog near the river bank. " * 16

    async def timed(text: str, tokens: int) -> tuple[float, Usage]:
        started = time.perf_counter()
        request = Request((Message("user", text),), Sampling(max_tokens=tokens))
        reply = (await model.generate([request]))[0]
        return time.perf_counter() - started, reply.usage

    await timed("Hello", 1)  # the first call loads the weights
    reading, read = await timed(f"{time.time()} {words}", 1)
    writing, wrote = await timed("Count from one to one hundred.", 24)
    return Speed(
        prefill=max(1.0, read.prompt_tokens / max(reading, 1e-6)),
        decode=max(1.0, wrote.completion_tokens / max(writing, 1e-6)),
    )


def estimate(task: Task, settings: Settings) -> Table:
    """The forecast as a table with a sum."""

    async def work() -> list[Forecast]:
        async with Pool(settings) as pool:
            return await forecast(task, settings, pool)

    rows = asyncio.run(work())
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    total = sum((row.usage for row in rows), Usage())
    known = [row.seconds for row in rows if row.seconds is not None]
    table.add_column("rung", footer="sum (upper bound for new tokens)")
    for title, foot in (
        ("calls", count(total.calls)),
        ("prompt tokens", count(total.prompt_tokens)),
        ("new tokens", count(total.completion_tokens)),
        ("money", money(total.money)),
        ("time", seconds(sum(known)) if known else "unknown"),
    ):
        table.add_column(title, footer=foot, justify="right")
    table.add_column("note")
    for row in rows:
        table.add_row(
            row.title,
            count(row.usage.calls),
            count(row.usage.prompt_tokens),
            count(row.usage.completion_tokens),
            money(row.usage.money),
            seconds(row.seconds) if row.seconds is not None else "unknown",
            row.note,
        )
    return table
