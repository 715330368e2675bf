"""The search: proposals, their race over dev, the test that decides, and the log of it all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rung.core.codec import digest
from rung.core.errors import InputError, ModelError
from rung.core.parts import program as programs
from rung.core.parts.meter import metered
from rung.core.protocols import Context, Program
from rung.core.types import Example, Progress, Result, Task
from rung.metrics import load_metric
from rung.metrics.stats import Difference
from rung.prompts.program import PromptProgram
from rung.prompts.search.optimize.bandit import Bandit
from rung.prompts.search.optimize.cost import PROBE, judging, step_calls, too_small
from rung.prompts.search.optimize.log import Log, Reflections
from rung.prompts.search.optimize.population import Population, PromptCandidate, difference
from rung.prompts.search.optimize.race import race
from rung.prompts.search.propose.proposal import Material, Proposal, with_selector
from rung.prompts.search.propose.reflection import REFLECTION, reflection, rewritten
from rung.prompts.search.propose.sources import SOURCES, propose

if TYPE_CHECKING:
    from rung.prompts.search.optimize.optimized import Optimized

STEPS = "steps.jsonl"
"""The log in the fit's folder, a line a step; the last line says how the search ended."""
START = "start"
"""The folder beside it that holds the program the search began with."""
REFLECTIONS = "reflections.jsonl"
HELD_OUT = 48
"""Training examples that are kept out of the demonstrations for rewriting, at most (and at most a quarter)."""


class PromptSearch:
    """One search of the rung ``optimized`` for a task."""

    def __init__(self, rung: Optimized, task: Task, context: Context) -> None:
        self.rung, self.task, self.context = rung, task, context
        self.metric = load_metric(task.metrics[0], context.resources)
        self.dev = task.dev[: rung.dev]
        self.prompts = Population(task, self.metric, len(self.dev))
        self.used = 0
        self.each = 1 + judging(task, context.resources)
        self.steps = 0
        self.notes: list[str] = []
        self.bandit = Bandit(rung.sources or SOURCES)
        # The same question to train twice is free in the journal; it is asked once here, so that it is counted once.
        self.probed: dict[int, dict[int, Result]] = {}
        context.folder.mkdir(parents=True, exist_ok=True)
        self.log, self.reflections = Log(context.folder / STEPS), Reflections(context.folder / REFLECTIONS)
        tests = {_content(example) for example in task.test}
        train = [example for example in task.train if _content(example) not in tests]
        held = min(HELD_OUT, len(train) // 4)
        random.Random(context.seed).shuffle(train)
        self.feedback = train[:held]
        kept = {example.id for example in self.feedback}
        pool = tuple(example for example in task.train if example.id not in kept)
        self.material = Material(task, pool, self.metric.name, context.seed)

    async def run(self) -> PromptProgram:
        """The best prompt found. Raises InputError for a budget that is too small, ModelError when a model is away."""
        prompts = self.prompts
        first = prompts.best = await self._start()
        self._say("start", f"{self.metric.name} {prompts.value(first):.3f} on {len(self.dev)} dev examples")
        while (width := self._width()) >= 2 and not prompts.perfect():
            proposals = await self._propose(width)
            if not proposals:
                break
            self.steps += 1
            await self._step(proposals)
        why = "every dev example is right" if prompts.perfect() else "the budget" if width < 2 else "nothing new to try"
        end: dict[str, Any] = {
            "end": why,
            "steps": self.steps,
            "calls": self.used,
            "budget": self.rung.calls,
            "candidates": len(prompts.known) - 1,
            "metric": self.metric.name,
            "n": len(self.dev),
            "start": prompts.value(first),
            "best": prompts.value(prompts.best),
            "chain": [f"{one.source}: {one.note}" for one in prompts.chain()],
        }
        self.log.add(end)
        return prompts.best.program

    # -------------------------------------------------- answers

    async def _evaluate(self, program: Program, examples: Sequence[Example]) -> list[Result]:
        """Through the journal, counted. Refuses what the budget cannot pay; a model that is away ends the search."""
        if self.used + len(examples) * self.each > self.rung.calls:
            needed = self.used + len(examples) * self.each
            raise InputError(
                f"a budget of {self.rung.calls} calls is too small: the start prompt alone asks for {needed}",
                remedy=f"give more: --calls {needed + step_calls(self.rung.width, len(self.dev), 1)}",
            )
        with metered() as meter:
            results = await self.context.evaluate(program, examples)
        now = sum(result.answer.usage.calls for result in results if not result.reused)
        judged = max(0, meter.total.calls - now)
        self.used += sum(result.answer.usage.calls for result in results) + judged
        away = [r.answer.failure.message for r in results if r.answer.failure and r.answer.failure.where == "model"]
        if len(away) * 2 > len(results):
            raise ModelError(
                f"{len(away)} of {len(results)} answers failed: {away[0]}",
                remedy="run it again once the model answers: it goes on from here",
            )
        return results

    async def _start(self) -> PromptCandidate:
        made = await self.rung.first().fit(self.task, replace(self.context, evaluate=self._evaluate))
        if not isinstance(made, PromptProgram):
            raise InputError(
                f"{self.rung.prompt or self.rung.start} makes no prompt that could be edited",
                remedy="start with zero-shot, or a template",
            )
        programs.save(made, self.context.folder / START)
        reasoning = made.options.reasoning
        self.each = judging(self.task, self.context.resources) + (1 if reasoning is None else 2 * reasoning.votes)
        if said := too_small(self.rung.calls, len(self.dev), self.each, self.used):
            enough = self.used + len(self.dev) * self.each + step_calls(self.rung.width, len(self.dev), self.each)
            raise InputError(said, remedy=f"give at least that, better {enough} for a step of {self.rung.width} edits")
        start = PromptCandidate(0, made, "start", self.rung.prompt or self.rung.start, 0)
        self.prompts.add(start)
        await self._answer(start, range(len(self.dev)))
        start.fate = "the start"
        return start

    async def _answer(self, candidate: PromptCandidate, indices: Sequence[int]) -> None:
        missing = [index for index in indices if index not in candidate.scores]
        results = await self._evaluate(candidate.program, [self.dev[index] for index in missing]) if missing else []
        for index, result in zip(missing, results, strict=True):
            self.prompts.note(candidate, index, result)
        if self.steps:
            said = f"{candidate.source} {self.prompts.value(candidate):.3f} after {len(candidate.scores)}"
            self._say("race", said)

    # -------------------------------------------------- proposals

    def _width(self) -> int:
        """The widest step that what is left of the budget pays for whole; 0 when none is."""
        left = self.rung.calls - self.used
        widths = range(self.rung.width, 1, -1)
        return next((width for width in widths if step_calls(width, len(self.dev), self.each) <= left), 0)

    async def _propose(self, width: int) -> list[PromptCandidate]:
        """``width`` prompts: some that were ahead of the best when they were halved out, then new ones, every other one
        an edit of the best, the rest of a parent drawn from the front."""
        rng = random.Random(f"{self.context.seed} {self.steps}")
        best, known, front = self.prompts.best, self.prompts.known, self.prompts.front()
        other = known[rng.choices(list(front), [len(wins) for wins in front.values()])[0]]
        materials = {}
        for parent, count in ((best, PROBE if other is best else PROBE // 2), (other, PROBE // 2)):
            if parent.id not in materials:
                rivals = tuple(known[id].program for id in front if id != parent.id)
                materials[parent.id] = replace(self.material, feedback=await self._probe(parent, count), rivals=rivals)
        out = self.prompts.returning(max(1, width // 4))
        spent: set[tuple[int, str]] = set()
        asked: Counter[str] = Counter()
        reflected = False
        while len(out) < width:
            parent = best if len(out) % 2 == 0 else other
            left = {
                one.id: [name for name in self.bandit.asked if (one.id, name) not in spent] for one in (best, other)
            }
            if not any(left.values()):
                break
            if not left[parent.id]:
                parent = other if parent is best else best
            name = self.bandit.choose(left[parent.id], asked)
            if name == REFLECTION:
                spent |= {(best.id, name), (other.id, name)}
                found = None if reflected else await self._reflect(parent, materials[parent.id])
                reflected = True
                proposals = iter(() if found is None else (found,))
            else:
                proposals = propose(name, parent.program, materials[parent.id])
            if (made := self._first_new(proposals, parent)) is not None:
                out.append(made)
                asked[name] += 1
            else:
                spent.add((parent.id, name))
        return out

    def _first_new(self, proposals: Iterator[Proposal], parent: PromptCandidate) -> PromptCandidate | None:
        for one in proposals:
            made = PromptCandidate(len(self.prompts.known), one.program, one.source, one.note, parent.id)
            if self.prompts.add(made):
                return made
        return None

    async def _probe(self, parent: PromptCandidate, count: int) -> list[Result]:
        """The parent's answers to held-out training examples: all it has given so far, and ``count`` new ones."""
        known = self.probed.setdefault(parent.id, {})
        program, selector = parent.program, parent.program.selector
        if selector is not None and selector.kind != "random":  # it must not find the very example that it is asked
            selector = self.material.selector(selector.kind, selector.k)
            program = with_selector(program, selector)
        shown = {example.id for example in selector.shown} if selector is not None else set()
        new = [i for i, example in enumerate(self.feedback) if i not in known and example.id not in shown][:count]
        if new:
            results = await self._evaluate(program, [self.feedback[i] for i in new])
            known.update(zip(new, results, strict=True))
        return [known[i] for i in sorted(known)]

    async def _reflect(self, parent: PromptCandidate, material: Material) -> Proposal | None:
        request = reflection(parent.program, material, self.steps)
        if request is None:
            return None
        model = self.context.resources.model(self.rung.reflector or None)
        reply, calls = await self.reflections.ask(model, request)
        self.used += calls
        proposal, why = rewritten(parent.program, material, reply)
        if why:
            self.notes.append(f"a rewriting was not used: {why}")
            self._say("note", self.notes[-1])
        return proposal

    # -------------------------------------------------- one step

    async def _step(self, everyone: list[PromptCandidate]) -> None:
        prompts, best = self.prompts, self.prompts.best
        new = [one for one in everyone if not one.fate]
        # Dev examples in another order at each step, so that not always the same few decide who goes on.
        order = list(range(len(self.dev)))
        random.Random(f"{self.context.seed} order {self.steps}").shuffle(order)
        racing = await race(prompts, everyone, order, self._answer)
        won: PromptCandidate | None = None
        test: Difference | None = None
        for last in racing:
            test = prompts.compare(last)
            wins = prompts.sign * test.value > 0 and test.p / 2 <= self.rung.alpha
            last.fate = "kept" if wins else "not kept: the paired test does not say that it is better"
            won = last if wins else None
        for one in new:
            self.bandit.learn(one.source if one.source in self.bandit.asked else REFLECTION, prompts.gain(one))
        shown = racing[0] if racing else max(everyone, key=prompts.gain)
        diff = difference(best, shown)
        record = {
            "step": self.steps,
            "calls": self.used,
            "best": prompts.value(won or best),
            "kept": won.id if won else None,
            "edit": {"id": shown.id, "source": shown.source, "note": shown.note, "parent": shown.parent},
            "test": {"difference": test.value, "low": test.low, "high": test.high, "p": test.p / 2} if test else None,
            "front": sorted(prompts.front()),
            "candidates": [prompts.record(one) for one in everyone],
            "notes": self.notes,
            "diff": diff,
        }
        self.log.add(record)
        self.notes = []
        name = f"step-{self.steps:02d}-{'kept' if won else 'not-kept'}.diff"
        (self.context.folder / name).write_text(diff, encoding="utf-8")
        change = f"{prompts.gain(shown):+.3f}, one-sided p {test.p / 2:.3f}" if test else "all were worse"
        prompts.best = won or best
        self._say("step", f"{'kept' if won else 'not kept'} {shown.source} ({shown.note}): {change}")

    def _say(self, stage: str, what: str) -> None:
        best = f"best {self.prompts.value(self.prompts.best):.3f}; " if self.steps or stage == "step" else ""
        self.context.progress(Progress(f"{stage} {self.steps}".strip(), self.used, self.rung.calls, f"{best}{what}"))


def _content(example: Example) -> str:
    return digest([dict(example.input), example.reference])
