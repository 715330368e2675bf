"""An optimized prompt outside a climb: searched on train and dev through the journal, its gain shown once on test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rung.core import program as programs
from rung.core.codec import encode
from rung.core.errors import InputError
from rung.core.meter import metered
from rung.core.protocols import Program
from rung.core.settings import Settings
from rung.core.types import Interval, Progress, Result, RungChoice, Task, Usage
from rung.ladder.measure.evaluate import Evaluator, example_hash
from rung.ladder.measure.looks import Test
from rung.ladder.prepare.fit import fit, fit_key
from rung.ladder.prepare.plan import Using
from rung.ladder.records import verdict
from rung.metrics import load_metric
from rung.metrics.stats import Difference, interval, paired
from rung.models import Pool
from rung.prompts.program import PromptProgram
from rung.prompts.search.optimize.cost import judging, step_calls
from rung.prompts.search.optimize.optimized import Optimized
from rung.prompts.search.optimize.search import START, STEPS
from rung.prompts.search.propose.proposal import template_of, written
from rung.prompts.template.files import write
from rung.store import Store

RUNG = "optimized"


@dataclass(frozen=True, slots=True)
class Tested:
    """Start and result on the test split: the only look at it. ``difference`` is result minus start."""

    n: int
    start: Interval
    best: Interval
    difference: Difference
    start_tokens: float
    best_tokens: float


@dataclass(frozen=True, slots=True)
class Optimum:
    """What a search found. ``steps`` are the log's lines and ``end`` its last one; ``usage`` is what was asked now (the rest
    came from the journal); ``folder`` holds the program, ``log`` the steps; ``chosen`` says how demonstrations are chosen for
    each input, which ``prompt.md`` cannot hold."""

    task: str
    model: str
    metric: str
    steps: tuple[Mapping[str, Any], ...]
    end: Mapping[str, Any]
    usage: Usage
    seconds: float
    folder: Path
    log: Path
    prompt: str
    chosen: str
    tested: Tested | None


async def optimize(
    task: Task,
    rung: Optimized,
    *,
    settings: Settings,
    store: Store,
    pool: Pool,
    model: str,
    out: Path,
    seed: int = 0,
    test: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Optimum:
    """Search with ``rung``'s options, write the program to ``out``, and answer the test split once with it and the start.

    ``out`` also gets ``prompt.md`` (for ``rung prompt save``), ``steps.jsonl`` and a diff for each step. A search that was
    killed goes on from the journal. Raises InputError for a budget that buys no step, a task that does not fit, or a folder
    that holds other things; nothing is written then.
    """
    using = Using(pool, model)
    if why := rung.obstacle(task, using):
        dev = min(rung.dev, len(task.dev))
        enough = dev + step_calls(rung.width, dev, 1 + judging(task, using))
        helps = not replace(rung, calls=enough).obstacle(task, using)
        raise InputError(why, remedy=f"type: --calls {enough}" if helps else "give the task what is missing")
    _check_place(out)
    choice = RungChoice(RUNG, {name: getattr(rung, name) for name in rung.__dataclass_fields__})
    metrics = [load_metric(name, pool) for name in task.metrics]
    watched = Test(store, task, "optimize")
    evaluator = Evaluator(store, "optimize", metrics, concurrency=settings["concurrency"], test=watched)
    fingerprint = using.model().fingerprint
    began = time.monotonic()
    with metered() as meter:
        fitted = await fit(
            choice,
            rung,
            task,
            store=store,
            resources=using,
            evaluate=evaluator.fitting,
            home=settings.home,
            model=fingerprint,
            progress=progress,
            seed=seed,
        )
        usage, took = meter.total, time.monotonic() - began
    log = settings.home / "fits" / fit_key(choice, rung, task, fingerprint, seed)
    *steps, end = read_steps(log)
    best = fitted.program
    assert isinstance(best, PromptProgram)
    tested = None
    if test and task.test:
        start = programs.load(log / START, using)
        progress(Progress("test", 0, len(task.test), "the start prompt and the result, once"))
        tested = await _test(start, best, evaluator, task)
        progress(Progress("test", len(task.test), len(task.test)))
    notes = {
        "rung": RUNG,
        "task": task.name,
        "task_hash": task.hash,
        "metric": task.metrics[0],
        "model": model,
        "fields": list(task.fields),
        "optimized": {"options": encode(rung), "end": end, "test": encode(tested)},
    }
    programs.save(best, out, notes=notes)
    (out / "prompt.md").write_text(write(template_of(best, task.name)), encoding="utf-8")
    for file in (log / STEPS, *sorted(log.glob("step-*.diff"))):
        (out / file.name).write_bytes(file.read_bytes())
    return Optimum(
        task.name,
        model,
        task.metrics[0],
        tuple(steps),
        end,
        usage,
        took,
        out,
        log,
        written(best),
        _chosen(best),
        tested,
    )


def _chosen(program: PromptProgram) -> str:
    selector = program.selector
    return "" if selector is None or selector.kind == "random" else f"k: {selector.k}, select: {selector.kind}"


def _check_place(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "program.json").exists())):
        raise InputError(f"{out} exists and is not a program folder", remedy="name a new folder: --out FOLDER")


def read_steps(folder: Path) -> Sequence[dict[str, Any]]:
    """The lines of a finished search's log. Raises InputError when it is gone."""
    path = folder / STEPS
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise InputError(
            f"the log of this search is gone: {error}", file=path, remedy="search again: change --seed"
        ) from None


async def _test(start: Program, best: Program, evaluator: Evaluator, task: Task) -> Tested:
    metric = evaluator.metrics[0]
    test = sorted(task.test, key=example_hash)
    before: list[Result] = await evaluator(start, test)
    after: list[Result] = await evaluator(best, test)
    old, new = ([result.scores[metric.name] for result in results] for results in (before, after))
    tokens = [sum(r.answer.usage.tokens for r in results) / len(results) for results in (before, after)]
    return Tested(len(test), interval(metric, old), interval(metric, new), paired(metric, new, old), *tokens)


def summary(found: Optimum) -> str:
    """The search as lines: every step, what was kept, the gain on test."""
    lines = []
    for step in found.steps:
        edit, test = step["edit"], step["test"]
        said = (
            f"{test['difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}], one-sided p {test['p']:.3f}"
            if test
            else "every edit was shown to be worse"
        )
        mark = "kept    " if step["kept"] is not None else "not kept"
        lines.append(f"step {step['step']:>2}  {mark}  {edit['source']:<12} {edit['note']}\n          {said}")
    end = found.end
    lines += [
        "",
        f"{end['calls']} of {end['budget']} calls, {end['steps']} steps, {end['candidates']} prompts tried; "
        f"ended by: {end['end']}",
        *(
            ()
            if end["chain"]
            else ("no edit won: the start prompt stays; more dev examples (--dev) tell smaller gains",)
        ),
        f"dev (the search chose on it): {found.metric} {end['start']:.3f} → {end['best']:.3f} on {end['n']} examples",
    ]
    if found.tested is not None:
        t, d = found.tested, found.tested.difference
        lines += [
            f"test (looked at once):        {found.metric} {t.start.value:.3f} [{t.start.low:.3f}, {t.start.high:.3f}] → "
            f"{t.best.value:.3f} [{t.best.low:.3f}, {t.best.high:.3f}] on {t.n} examples",
            f"gain {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}], p {d.p:.3f}: {verdict(d)}; "
            f"{t.start_tokens:.0f} → {t.best_tokens:.0f} tokens an answer",
        ]
    return "\n".join(lines)
