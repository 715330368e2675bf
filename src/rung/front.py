"""The front door for Python code: what the command line does, as plain functions that wait for the result."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rung import tasks
from rung.core.parts import program as programs
from rung.core.settings import Settings
from rung.core.types import Answer, Budget, Input, Message, Reply, Request, RungChoice, Sampling, Task
from rung.ladder.climb import Climber
from rung.ladder.prepare.observer import Observer, Silent
from rung.ladder.records import RunRecord
from rung.ladder.view.report import write_report
from rung.models import Pool
from rung.serving.endpoints import local
from rung.store import open_store
from rung.studies.models import cases


def climb(
    task: str | Path | Task,
    *,
    models: Sequence[str] = (),
    rungs: Sequence[str | RungChoice] = (),
    limit: int | None = None,
    budget: Budget | None = None,
    early: bool = True,
    seed: int = 0,
    report: Path | None = None,
    settings: Settings | None = None,
    observer: Observer | None = None,
) -> RunRecord:
    """Climb a task (a Task, a task file, its folder, or a pack's name) and return what was measured.

    ``models``, ``rungs`` and each limit that is set in ``budget`` replace those of the task; ``limit`` is the largest
    number of test examples; ``early`` stops rungs that cannot win any more. The HTML report goes to ``report``, or
    beside the store. Raises InputError for a task that does not load, KeyboardInterrupt when it was stopped; a rung
    that fails is a row of the result.
    """
    settings = settings or Settings()
    loaded = task if isinstance(task, Task) else tasks.load(task)
    loaded = tasks.change(loaded, models=models, rungs=rungs)
    loaded = narrow(loaded, limit, budget or Budget())

    async def work() -> RunRecord:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as store:
                climber = Climber(loaded, store, pool, settings, observer or Silent(), early, seed)
                run = await climber.climb()
                await write_report(run, store, pool, report or report_path(settings, run.id))
                return run

    try:
        return asyncio.run(work())
    except asyncio.CancelledError:  # by a signal, or by whoever observes the climb
        raise KeyboardInterrupt from None


def narrow(task: Task, limit: int | None, budget: Budget) -> Task:
    """The task with at most ``limit`` test examples, and each limit that is set in ``budget`` in place of its own."""
    old = task.budget
    tokens = old.tokens if budget.tokens is None else budget.tokens
    money = old.money if budget.money is None else budget.money
    seconds = old.seconds if budget.seconds is None else budget.seconds
    task = task if limit is None else tasks.cut(task, test=limit)
    return replace(task, budget=Budget(tokens, money, seconds))


def report_path(settings: Settings, run: str) -> Path:
    """Where a run's report goes when nobody says."""
    return settings.home / "reports" / f"{run}.html"


def answer(folder: str | Path, input: Input | str, *, settings: Settings | None = None) -> Answer:
    """Answer one input with an exported program. A failure is in the answer; a damaged folder raises InputError."""

    async def work() -> Answer:
        async with Pool(settings) as pool:
            opened = local.open_folder(Path(folder), pool)
            return await programs.attempt(opened.program, local.as_fields(input, opened.fields))

    return asyncio.run(work())


def ask(
    prompt: str | Sequence[Message],
    *,
    model: str | None = None,
    sampling: Sampling | None = None,
    settings: Settings | None = None,
) -> Reply:
    """One reply of a model (``provider:name``; the setting ``model`` where none is named). Raises ModelError."""
    messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)

    async def work() -> Reply:
        async with Pool(settings) as pool:
            return (await pool.model(model).generate([Request(messages, sampling or Sampling())]))[0]

    return asyncio.run(work())


def evaluate_model(
    model: str | cases.Generator | None,
    test_cases: Sequence[Mapping[str, Any]],
    *,
    max_tokens: int = 256,
    settings: Settings | None = None,
) -> list[dict[str, Any]]:
    """Answer and score ``test_cases`` ({"prompt", "reference"}), the plain evaluation loop of fine-tuning guides: a row
    a case with prompt, response, reference and metrics (rouge: ROUGE-L F1; exact_match; semantic_similarity), as
    ``rung eval`` prints them.

    ``model`` is provider:name (None: the setting ``model``) or an object with ``generate(prompt) -> str``. Raises
    InputError.
    """
    examples = cases.examples(test_cases)
    _, results = asyncio.run(cases.evaluate(model, examples, settings or Settings(), max_tokens=max_tokens))
    return cases.shape(results)
