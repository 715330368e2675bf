"""An optimized prompt outside a climb: searched on train and dev through the journal, its gain shown once on test."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rung import tasks
from rung.core.codec import encode
from rung.core.errors import InputError
from rung.core.parts import program as programs
from rung.core.parts.meter import metered
from rung.core.parts.option import option
from rung.core.protocols import Program
from rung.core.types import Interval, Progress, Result, RungChoice, Task, Usage
from rung.ladder.measure.evaluate import Evaluator, example_hash
from rung.ladder.measure.looks import Test
from rung.ladder.prepare.fit import FitRequest, FitResources, fit
from rung.ladder.records import verdict
from rung.ladder.view.numbers import change, exact
from rung.metrics.stats import Difference, interval, paired
from rung.prompts.program import PromptProgram
from rung.prompts.search.optimize.cost import judging, stages, step_calls
from rung.prompts.search.optimize.optimized import Optimized
from rung.prompts.search.optimize.search import START, STEPS
from rung.prompts.search.propose.proposal import template_of, written
from rung.prompts.template.files import write
from rung.studies.study import Lab, Study

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
class OptimizeResult:
    """What a search found. ``steps`` are the log's lines and ``end`` its last one; ``usage`` is what was asked now (the
    rest came from the journal); ``folder`` holds the program, ``log`` the steps; ``chosen`` says how demonstrations are
    chosen for each input, which ``prompt.md`` cannot hold."""

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


@dataclass(frozen=True)
class Optimize(Study[Task, OptimizeResult]):
    """Search instructions and demonstrations on train and dev; keep what wins there in a paired test; test once."""

    name = "optimize"
    subject = "task"
    records = OptimizeResult

    calls: int = option(400, "Hard budget of the search in model calls.", flags=("--calls", "-n"), low=1)
    reflector: str = option(
        "", "The model that rewrites instructions; without it, the one that answers.", metavar="MODEL"
    )
    rung: str = option("zero-shot", "Begin with the prompt of this rung.", flags=("--rung", "-r"))
    prompt: str = option("", "Begin with this template file or saved prompt instead.", flags=("--prompt", "-p"))
    out: Path | None = option(None, "Program folder to write (default: TASK-optimized).", flags=("--out", "-o"))
    dev: int = option(48, "Dev examples to search on, at most.", low=8)
    width: int = option(8, "Edits that race in a step.", low=2)
    alpha: float = option(0.2, "Keep an edit when its one-sided p on dev is at most this.")
    source: tuple[str, ...] = option((), "Take edits from this source only; may be repeated.", flags=("--source",))
    limit: int | None = option(None, "Test examples for the final gain, at most.", low=1)
    no_test: bool = option(False, "Do not look at the test split.", flags=("--no-test",))
    dry_run: bool = option(False, "Say what a step costs; ask nothing.", flags=("--dry-run",))
    seed: int = option(0, "Seed of every random choice.")
    diff: bool = option(False, "Print the diff of each step that was kept.", flags=("--diff",))

    def searched(self) -> Optimized:
        """The rung that searches. Raises InputError for options that do not go together."""
        options = (self.calls, self.rung, self.prompt, self.reflector, self.dev, self.width, self.alpha, self.source)
        try:
            return Optimized(*options)
        except ValueError as error:
            raise InputError(str(error), remedy="type: rung prompt optimize --help") from None

    def cost(self, task: Task) -> str:
        """What the search will ask, in words."""
        test = 0 if self.no_test else 2 * len(task.test[: self.limit])
        n = min(self.searched().dev, len(task.dev))
        return f"{_plan(self.calls, self.width, n)}\n{test} calls for the gain on test, once, besides"

    async def measure(self, subject: Task, lab: Lab) -> OptimizeResult:
        """Search, write the program to a folder, and answer the test split once with it and the start.

        The folder also gets ``prompt.md`` (for ``rung prompt save``), ``steps.jsonl`` and a diff for each step. Raises
        InputError for a budget that buys no step, a task that does not fit, or a folder that holds other things;
        nothing is written then.
        """
        task = subject if self.limit is None else tasks.cut(subject, test=self.limit)
        rung, out = self.searched(), self.out or Path(f"{task.name}-optimized")
        self._check(rung, task, lab, out)
        choice = RungChoice(RUNG, {name: getattr(rung, name) for name in rung.__dataclass_fields__})
        evaluator = lab.evaluator(lab.metrics(task), run=self.name, test=Test(lab.store, task, self.name))
        request = FitRequest(choice, rung, task, lab.resources.model().fingerprint, self.seed)
        began = time.monotonic()
        with metered() as meter:
            given = FitResources(lab.store, lab.resources, evaluator.fitting, lab.settings.home, lab.progress)
            fitted = await fit(request, given)
            usage, took = meter.total, time.monotonic() - began
        log = lab.settings.home / "fits" / request.key
        *steps, end = read_steps(log)
        best = fitted.program
        assert isinstance(best, PromptProgram)
        tested = None
        if not self.no_test and task.test:
            lab.progress(Progress("test", 0, len(task.test), "the start prompt and the result, once"))
            tested = await _test(programs.load(log / START, lab.resources), best, evaluator, task)
            lab.progress(Progress("test", len(task.test), len(task.test)))
        model = lab.resources.model().name
        found = OptimizeResult(
            task.name, model, task.metrics[0], tuple(steps), end, usage, took, out, log, written(best), _chosen(best), tested
        )  # fmt: skip
        _write(found, best, task, rung)
        return found

    def _check(self, rung: Optimized, task: Task, lab: Lab, out: Path) -> None:
        if why := rung.obstacle(task, lab.resources):
            dev = min(rung.dev, len(task.dev))
            enough = dev + step_calls(rung.width, dev, 1 + judging(task, lab.resources))
            helps = not replace(rung, calls=enough).obstacle(task, lab.resources)
            raise InputError(why, remedy=f"type: --calls {enough}" if helps else "give the task what is missing")
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "program.json").exists())):
            raise InputError(f"{out} exists and is not a program folder", remedy="name a new folder: --out FOLDER")

    def table(self, found: OptimizeResult) -> str:
        """Every step, what was kept, the gain on test, the prompt, and what to do with it."""
        kept = sorted(found.folder.glob("step-*-kept.diff")) if self.diff else []
        diffs = [f"\n{file.name}\n{file.read_text(encoding='utf-8').rstrip()}" for file in kept]
        file = found.folder / "prompt.md"
        take = f'\nTake it: rung run {found.folder} -i "..."; rung serve {found.folder}; rung prompt save {file}'
        words = "prompt.md holds the words; the demonstrations are chosen for each input: template: {prompt: "
        chosen = [f"{words}{file}, {found.chosen}}}"] if found.chosen else []
        return "\n".join([summary(found), *diffs, f"\n{found.prompt.rstrip()}", take, *chosen])


def _plan(calls: int, width: int, n: int) -> str:
    race = ", ".join(f"{alive} edits on {seen}" for alive, seen in stages(width, n))
    step = step_calls(width, n, 1)
    return (
        f"{n} calls for the start prompt on {n} dev examples\n"
        f"{step} calls a step at most ({race}; mistakes on train; one rewriting)\n"
        f"{calls} calls buy at least {max(0, calls - n) // step} steps"
    )


def _write(found: OptimizeResult, best: PromptProgram, task: Task, rung: Optimized) -> None:
    notes = {
        "rung": RUNG,
        "task": task.name,
        "task_hash": task.hash,
        "metric": task.metrics[0],
        "model": found.model,
        "fields": list(task.fields),
        "optimized": {"options": encode(rung), "end": found.end, "test": encode(found.tested)},
    }
    programs.save(best, found.folder, notes=notes)
    (found.folder / "prompt.md").write_text(write(template_of(best, task.name)), encoding="utf-8")
    for file in (found.log / STEPS, *sorted(found.log.glob("step-*.diff"))):
        (found.folder / file.name).write_bytes(file.read_bytes())


def _chosen(program: PromptProgram) -> str:
    selector = program.selector
    return "" if selector is None or selector.kind == "random" else f"k: {selector.k}, select: {selector.kind}"


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


def summary(found: OptimizeResult) -> str:
    """The search as lines: every step, what was kept, the gain on test."""
    lines = []
    for step in found.steps:
        edit, test = step["edit"], step["test"]
        shown = f"{_gap(test)}, one-sided p {test['p']:.3f}" if test else "every edit was shown to be worse"
        mark = "kept    " if step["kept"] is not None else "not kept"
        lines.append(f"step {step['step']:>2}  {mark}  {edit['source']:<12} {edit['note']}\n          {shown}")
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
            f"test (looked at once):        {found.metric} {exact(t.start)} → {exact(t.best)} on {t.n} examples",
            f"gain {change(d)}, p {d.p:.3f}: {verdict(d)}; {t.start_tokens:.0f} → {t.best_tokens:.0f} tokens an answer",
        ]
    return "\n".join(lines)


def _gap(test: Mapping[str, float]) -> str:
    return f"{test['difference']:+.3f} [{test['low']:+.3f}, {test['high']:+.3f}]"
