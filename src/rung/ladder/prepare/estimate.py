"""What a climb is expected to cost, before it asks anything: calls, tokens, money and time for each rung."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rung.core.errors import RungError
from rung.core.parts.place import beside
from rung.core.parts.rung import make_rung
from rung.core.protocols import Context, Model, Predictable, Program, Resources, Rung, Trainable
from rung.core.settings import Settings
from rung.core.system.threads import detached
from rung.core.types import Answer, Example, Message, Request, Result, Sampling, Score, Task, Usage
from rung.ladder.prepare.plan import Attempt, AttemptResources, alone, plan
from rung.ladder.view.numbers import count, money, seconds
from rung.models import Pool
from rung.models.prices import find

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


@dataclass
class Forecaster:
    """Forecasts for a task's rungs. Each local model's speed is measured once, a training that several rungs share
    counted once."""

    task: Task
    settings: Settings
    resources: Resources
    _speeds: dict[str, Speed | None] = field(default_factory=dict)
    _trainings: dict[str, str] = field(default_factory=dict)

    async def forecast(self) -> list[Forecast]:
        """A forecast for every rung of the climb. Prompts are really built and counted; no answer is asked.

        New tokens are counted at their limit, so that the forecast is an upper bound there. A rung whose fit is a
        training says how many tokens it will train on and, from a few steps on this machine, how long that takes. A
        rung without a model is not fitted: it asks nothing, and takes seconds.
        """
        with beside(self.task, self.settings):
            return self._within([await self._one(attempt) for attempt in plan(self.task, self.settings)])

    async def _one(self, attempt: Attempt) -> Forecast:
        rung = make_rung(attempt.choice)
        using = AttemptResources(self.resources, attempt.model)
        if obstacle := rung.obstacle(self.task, using):
            return Forecast(attempt.title, note=f"skipped: {obstacle}")
        if isinstance(rung, Trainable):
            return await self._training(attempt, rung, using)
        if not rung.traits.uses_model:
            return Forecast(attempt.title, note="asks no model")
        try:
            asked = await self._asked(rung, using)
        except RungError as error:
            return Forecast(attempt.title, note=f"cannot be fitted: {error.message}")
        total, uncached = Usage(), 0.0
        for program, n in asked:
            usage, fresh = _of(program, self.task.test[:SAMPLE], n)
            total, uncached = total + usage, uncached + fresh
        if not total.calls:
            return Forecast(attempt.title, seconds=0.0)
        if attempt.model not in self._speeds:
            self._speeds[attempt.model] = await measure(using.model())
        speed = self._speeds[attempt.model]
        took = uncached / speed.prefill + total.completion_tokens / (4 * speed.decode) if speed else None
        price = find(using.model().name, self.settings["prices"])
        return Forecast(attempt.title, replace(total, money=price.money(total) if price is not None else 0.0), took)

    async def _training(self, attempt: Attempt, rung: Trainable, using: AttemptResources) -> Forecast:
        try:
            expected = await detached(partial(rung.forecast, self.task, using))
        except RungError as error:
            return Forecast(attempt.title, note=f"cannot be trained: {error.message}")
        usage, note = expected.usage, "to train; answers come on top"
        if first := self._trainings.get(expected.training):
            usage, note = Usage(), f"trained with {first}; answers come on top"
        elif expected.training:
            self._trainings[expected.training] = attempt.title
        took = usage.seconds + expected.rest
        return Forecast(attempt.title, replace(usage, seconds=0.0), took or None, note)

    async def _asked(self, rung: Rung, using: AttemptResources) -> list[tuple[Program, int]]:
        """The programs that the rung will ask while it fits and in the test, and how many examples each."""
        asked: list[tuple[Program, int]] = []

        async def evaluate(program: Program, examples: Sequence[Example]) -> list[Result]:
            asked.append((program, len(examples)))
            blank = {name: Score(0.0) for name in self.task.metrics}
            return [Result(example, Answer(None), blank) for example in examples]

        with tempfile.TemporaryDirectory() as folder:
            program = await rung.fit(self.task, Context(using, Path(folder), evaluate))
        return [*asked, (program, len(self.task.test))]

    def _within(self, rows: Sequence[Forecast]) -> list[Forecast]:
        """Which rungs a budget of seconds leaves no time for."""
        left = self.task.budget.seconds
        if left is None:
            return list(rows)
        out = []
        for row in rows:
            if row.seconds is not None and row.seconds > left:
                say = f"will be skipped: {seconds(left)} are left of the budget; alone: {alone(self.task, row.title)}"
                row = replace(row, note=say)
            else:
                left -= row.seconds or 0.0
            out.append(row)
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
    writing, wrote = await timed("Count from one to one hundred.", 16)
    return Speed(
        prefill=max(1.0, read.prompt_tokens / max(reading, 1e-6)),
        decode=max(1.0, wrote.completion_tokens / max(writing, 1e-6)),
    )


def estimate(task: Task, settings: Settings) -> list[list[str]]:
    """The forecast as rows under their titles, with a sum."""

    async def work() -> list[Forecast]:
        async with Pool(settings) as pool:
            return await Forecaster(task, settings, pool).forecast()

    rows = asyncio.run(work())
    total = sum((row.usage for row in rows), Usage())
    known = [row.seconds for row in rows if row.seconds is not None]
    out = [["rung", "calls", "prompt tokens", "new tokens", "money", "time", "note"]]
    out += [_cells(row) for row in rows]
    whole = Forecast("sum", total, sum(known) if known else None, "new tokens at their limit")
    return [*out, _cells(whole)]


def _cells(row: Forecast) -> list[str]:
    asks = row.usage.calls or row.usage.tokens or row.seconds
    figures = [count(row.usage.calls), count(row.usage.prompt_tokens), count(row.usage.completion_tokens)]
    took = seconds(row.seconds) if row.seconds is not None else "unknown" if asks else "–"
    return [row.title, *figures, money(row.usage.money), took, row.note]
