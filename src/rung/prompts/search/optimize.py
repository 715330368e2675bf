"""Search for a better prompt: instructions, parts, rendering and demonstrations, under a hard budget of model calls.

A step asks several sources (propose.py) for edits of the best prompt so far or of another on the front, and lets them race:
all answer a few dev examples, the better half goes on to twice as many, until one has answered all of dev (successive
halving; Karnin et al. 2013). One that is shown to be worse on the way is stopped at once (metrics.sequential); one that was
halved out although it was ahead comes back in a later step. The edit that
is left replaces the best prompt only when the paired test on dev says so. Which source is asked next is a bandit too (UCB1;
Auer et al. 2002). The front and the rewriting after failures are GEPA's (Agrawal et al. 2025, arXiv:2507.19457): every prompt
that nobody beats on some dev example stays a possible parent. Rewritings are shown mistakes on train, never on dev.

Every choice follows from the seed and the answers, and answers come from the journal when they have been given before. So a
killed search goes on by being run again, and a search with a larger budget begins with all that a smaller one found out.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from pathlib import Path
from typing import Any, ClassVar

from rung.core import program as programs
from rung.core import registry
from rung.core.codec import canonical, digest
from rung.core.errors import InputError, ModelError
from rung.core.files import atomic_write
from rung.core.meter import metered
from rung.core.protocols import Context, Metric, Program, Resources, Rung, Traits
from rung.core.rung import make_rung
from rung.core.types import Example, Progress, Result, RungChoice, Score, Task
from rung.metrics import load_metric
from rung.metrics.judge import Judge, PairJudge
from rung.metrics.sequential import Race
from rung.metrics.stats import Difference, paired
from rung.prompts.patterns.written import Written
from rung.prompts.program import PromptProgram
from rung.prompts.search.propose import (
    REFLECTION,
    SOURCES,
    Material,
    Proposal,
    propose,
    reflection,
    rewritten,
    with_selector,
    written,
)

STEPS = "steps.jsonl"
"""The log in the fit's folder, a line a step; the last line says how the search ended."""
START = "start"
"""The folder beside it that holds the program the search began with."""
REFLECTIONS = "reflections.jsonl"
"""What the reflector answered, by content of the question: a resumed search does not ask again."""

PROBE = 8
"""Held-out training examples that a parent answers in a step, for rewriting and bootstrapping."""
HELD_OUT = 48
"""Training examples that are kept out of the demonstrations for that, at most (and at most a quarter)."""
STAY = 0.35
"""Weight of what a source has yet to show against what it has shown."""


@dataclass(frozen=True)
class Optimized:
    """Searches instructions and demonstrations under a budget of model calls; keeps edits that win on dev in a paired test.

    ``calls`` is the hard budget of the search, the reflector's and judges' calls included. ``start`` is the rung whose prompt it begins
    with; ``prompt``, a template file or saved prompt, is used instead where it is given. ``reflector`` names the model that rewrites instructions; empty: the one that answers. ``dev``: examples used at
    most. ``width``: edits in a step. ``alpha``: an edit is kept when its one-sided p is at most this. ``sources``: where
    edits may come from; empty: everywhere.
    """

    traits: ClassVar[Traits] = Traits(optional=True)

    calls: int = 400
    start: str = "zero-shot"
    prompt: str = ""
    reflector: str = ""
    dev: int = 48
    width: int = 8
    alpha: float = 0.2
    sources: tuple[str, ...] = ()
    hash: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.calls < 1 or self.dev < 8 or self.width < 2 or not 0 < self.alpha < 1:
            raise ValueError("expected calls of at least 1, dev of at least 8, width of at least 2 and alpha in 0 to 1")
        if unknown := [name for name in self.sources if name not in SOURCES]:
            raise ValueError(f"there is no source {', '.join(unknown)}; sources: {', '.join(SOURCES)}")
        if self.start == "optimized" or self.start not in registry.table("rung"):
            raise ValueError(f"start is {self.start!r}, expected the name of a rung that asks with a prompt")
        if self.prompt:  # an edited template, or root, is another search
            object.__setattr__(self, "hash", Written(self.prompt).hash)

    def obstacle(self, task: Task, resources: Resources) -> str:
        if len(task.dev) < 8:
            return f"{len(task.dev)} dev examples are too few to tell better from worse"
        if why := self.first().obstacle(task, resources):
            return f"{self.prompt or self.start}, which it starts with: {why}"
        dev = min(self.dev, len(task.dev))
        return too_small(self.calls, dev, 1 + judging(task, resources))

    def first(self) -> Rung:
        """The rung whose prompt the search begins with. Raises InputError for a template with a mistake in it."""
        return Written(self.prompt) if self.prompt else make_rung(RungChoice(self.start))

    async def fit(self, task: Task, context: Context) -> PromptProgram:
        return await _Search(self, task, context).run()


# ---------------------------------------------------------------- what a step costs


def stages(width: int, dev: int) -> list[tuple[int, int]]:
    """Successive halving: (edits still in the race, dev examples that each has answered by then). The last has one edit
    and all of dev."""
    rounds = max(1, math.ceil(math.log2(width)))
    out = []
    alive, seen = width, max(1, dev >> rounds)
    for _ in range(rounds):
        out.append((alive, seen))
        alive, seen = (alive + 1) // 2, min(dev, 2 * seen)
    return [*out, (1, dev)]


def step_calls(width: int, dev: int, each: int) -> int:
    """Model calls of a step at most: the race, the parents' answers to held-out training examples, and one rewriting;
    ``each`` is the number of calls an answer takes."""
    calls, before = 0, 0
    for alive, seen in stages(width, dev):
        calls += alive * (seen - before)
        before = seen
    return (calls + PROBE) * each + 1


def judging(task: Task, resources: Resources) -> int:
    """Calls that the task's metrics make for each answer: judges ask a model too."""
    metrics = [load_metric(name, resources) for name in task.metrics]
    pairs = sum(2 for metric in metrics if isinstance(metric, PairJudge))
    return pairs + sum(len(metric.rubric.criteria) for metric in metrics if isinstance(metric, Judge))


def too_small(calls: int, dev: int, each: int, spent: int = 0) -> str:
    """Why the budget does not buy the start prompt's answers and one step of two edits, or ""."""
    first, step = dev * each, step_calls(2, dev, each)
    if calls >= spent + first + step:
        return ""
    before = f"{spent} for making the start prompt, " if spent else ""
    return (
        f"a budget of {calls} calls is too small: one step needs {spent + first + step} "
        f"({before}{first} for the start prompt on {dev} dev examples, {step} for two edits of it)"
    )


# ---------------------------------------------------------------- the search


@dataclass
class PromptCandidate:
    """A prompt in the search. ``scores`` are by index of the dev example; ``sure`` is how likely the model found the right
    answer there, where it says so (else the score again); ``fate`` says what became of it, ``beaten`` that
    it was shown to be worse than the best of its day."""

    id: int
    program: PromptProgram
    source: str
    note: str
    parent: int
    scores: dict[int, Score] = field(default_factory=dict)
    sure: dict[int, float] = field(default_factory=dict)
    tokens: int = 0
    fate: str = ""
    beaten: bool = False


@dataclass
class Tally:
    """What a source has shown: how often it was asked and the sum of its rewards (0.5 is "as good as the best")."""

    asked: int = 0
    reward: float = 0.0


class Log:
    """Lines of JSON that survive a kill. A search that is run again writes the same lines: they are checked, not doubled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._old = _lines(path)
        self._count = 0

    def add(self, record: Mapping[str, Any]) -> None:
        line = canonical(dict(record))
        if self._count < len(self._old) and self._old[self._count] == line:
            self._count += 1
            return
        lines = [*self._old[: self._count], line]
        with atomic_write(self.path) as staging:
            staging.write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
        self._old, self._count = lines, len(lines)


def _lines(path: Path) -> list[str]:
    """The whole lines of a log; one that was cut off by a kill is left out."""
    if not path.exists():
        return []
    out = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            json.loads(line)
        except ValueError:
            break
        out.append(line)
    return out


class _Search:
    def __init__(self, rung: Optimized, task: Task, context: Context) -> None:
        self.rung, self.task, self.context = rung, task, context
        self.metric: Metric = load_metric(task.metrics[0], context.resources)
        self.sign = 1 if self.metric.higher_is_better else -1
        self.dev = task.dev[: rung.dev]
        self.used = 0
        self.each = 1 + judging(task, context.resources)
        self.steps = 0
        self.best: PromptCandidate
        self.known: list[PromptCandidate] = []
        self.notes: list[str] = []
        self.tried: set[str] = set()
        self.tallies = {name: Tally() for name in (rung.sources or SOURCES)}
        # The same question to train twice is free in the journal; it is asked once here, so that it is counted once.
        self.probed: dict[int, dict[int, Result]] = {}
        context.folder.mkdir(parents=True, exist_ok=True)
        self.log = Log(context.folder / STEPS)
        tests = {_content(example) for example in task.test}
        train = [example for example in task.train if _content(example) not in tests]
        held = min(HELD_OUT, len(train) // 4)
        random.Random(context.seed).shuffle(train)
        self.feedback = train[:held]
        kept = {example.id for example in self.feedback}
        pool = tuple(example for example in task.train if example.id not in kept)
        self.material = Material(task, pool, self.metric.name, context.seed)

    async def run(self) -> PromptProgram:
        self.best = await self._start()
        self._say("start", f"{self.metric.name} {self._value(self.best):.3f} on {len(self.dev)} dev examples")
        first = self.best
        while (width := self._width()) >= 2 and not self._perfect():
            proposals = await self._propose(width)
            if not proposals:
                break
            self.steps += 1
            await self._step(proposals)
        why = "every dev example is right" if self._perfect() else "the budget" if width < 2 else "nothing new to try"
        end: dict[str, Any] = {
            "end": why,
            "steps": self.steps,
            "calls": self.used,
            "budget": self.rung.calls,
            "candidates": len(self.known) - 1,
            "metric": self.metric.name,
            "n": len(self.dev),
            "start": self._value(first),
            "best": self._value(self.best),
            "chain": [f"{one.source}: {one.note}" for one in self._chain(self.best)],
        }
        self.log.add(end)
        return self.best.program

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
        self._remember(start)
        await self._answer(start, range(len(self.dev)))
        start.fate = "the start"
        return start

    async def _answer(self, candidate: PromptCandidate, indices: Sequence[int]) -> None:
        missing = [index for index in indices if index not in candidate.scores]
        results = await self._evaluate(candidate.program, [self.dev[index] for index in missing]) if missing else []
        for index, result in zip(missing, results, strict=True):
            candidate.scores[index] = result.scores[self.metric.name]
            candidate.sure[index] = self._sure(result)
            candidate.tokens += result.answer.usage.tokens

    def _remember(self, candidate: PromptCandidate) -> bool:
        """Whether the prompt is new; what was tried once is not tried again."""
        identity = programs.fingerprint(candidate.program)
        if identity in self.tried:
            return False
        self.tried.add(identity)
        self.known.append(candidate)
        return True

    # -------------------------------------------------- one step

    def _width(self) -> int:
        """The widest step that what is left of the budget pays for whole; 0 when none is."""
        left = self.rung.calls - self.used
        for width in range(self.rung.width, 1, -1):
            if step_calls(width, len(self.dev), self.each) <= left:
                return width
        return 0

    def _perfect(self) -> bool:
        return self.metric.higher_is_better and all(score.value >= 1 for score in self.best.scores.values())

    async def _propose(self, width: int) -> list[PromptCandidate]:
        """``width`` prompts: some that were ahead of the best when they were halved out, then new ones, every other one an
        edit of the best, the rest of a parent drawn from the front."""
        rng = random.Random(f"{self.context.seed} {self.steps}")
        front = self.front()
        weights = [len(wins) for wins in front.values()]
        other = self.known[rng.choices(list(front), weights)[0]]
        materials = {}
        for parent, count in ((self.best, PROBE if other is self.best else PROBE // 2), (other, PROBE // 2)):
            if parent.id not in materials:
                rivals = [self.known[id].program for id in front if id != parent.id]
                materials[parent.id] = replace(
                    self.material, feedback=await self._probe(parent, count), rivals=tuple(rivals)
                )
        out = self._returning(max(1, width // 4))
        spent: set[tuple[int, str]] = set()
        asked: Counter[str] = Counter()
        reflected = False
        while len(out) < width:
            parent = self.best if len(out) % 2 == 0 else other
            open_ = [name for name in self.tallies if (parent.id, name) not in spent]
            if not open_:
                if all((one.id, name) in spent for one in (self.best, other) for name in self.tallies):
                    break
                parent = other if parent is self.best else self.best
                open_ = [name for name in self.tallies if (parent.id, name) not in spent]
            name = max(open_, key=lambda name: self._index(name, asked))
            if name == REFLECTION:
                spent |= {(self.best.id, name), (other.id, name)}
                found = None if reflected else await self._reflect(parent, materials[parent.id])
                reflected = True
                proposals = iter(() if found is None else (found,))
            else:
                proposals = propose(name, parent.program, materials[parent.id])
            for proposal in proposals:
                made = PromptCandidate(len(self.known), proposal.program, proposal.source, proposal.note, parent.id)
                if self._remember(made):
                    out.append(made)
                    asked[name] += 1
                    break
            else:
                spent.add((parent.id, name))
        return out

    def _returning(self, most: int) -> list[PromptCandidate]:
        """Prompts that left a race although they were ahead of today's best: they only owe the rest of dev."""
        halved = [
            one
            for one in self.known
            if len(self.dev) > len(one.scores) >= len(self.dev) / 4 and not one.beaten and self._gain(one) > 0
        ]
        return sorted(halved, key=lambda one: (-self._promise(one) * math.sqrt(len(one.scores)), one.id))[:most]

    def _index(self, name: str, asked: Mapping[str, int]) -> float:
        """UCB1. What has not been asked comes first, in the order of SOURCES; picks of this step count at once."""
        tally = self.tallies[name]
        n = tally.asked + asked[name]
        if not n:
            return 1e6 - list(self.tallies).index(name)
        total = 1 + sum(one.asked for one in self.tallies.values()) + sum(asked.values())
        mean = (tally.reward + 0.5 * asked[name]) / n
        return mean + STAY * math.sqrt(math.log(total) / n)

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
        path = self.context.folder / REFLECTIONS
        key = digest([model.fingerprint, canonical(request)])
        stored = {line["key"]: line for line in map(json.loads, _lines(path))}
        if key not in stored:
            try:
                reply = (await model.generate([request]))[0]
            except ModelError as error:
                raise ModelError(
                    f"the reflector does not answer: {error.message}", remedy=error.remedy, status=error.status
                ) from None
            record = {"key": key, "reply": reply.text, "calls": max(1, reply.usage.calls)}
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            stored[key] = record
        self.used += stored[key]["calls"]
        proposal, why = rewritten(parent.program, material, stored[key]["reply"])
        if why:
            self._note(f"a rewriting was not used: {why}")
        return proposal

    async def _step(self, racing: list[PromptCandidate]) -> None:
        best, everyone = self.best, list(racing)
        new = [one for one in racing if not one.fate]
        order = self._order()
        races = {one.id: Race(0.0, rivals=len(racing)) for one in racing}
        before = 0
        for _, seen in stages(len(racing), len(self.dev)):
            if not racing:
                break
            wave, before = order[before:seen], seen
            if not wave:
                continue
            await self._race(racing, wave)
            alive = []
            for one in racing:
                mine, theirs = [one.scores[i] for i in wave], [best.scores[i] for i in wave]
                if races[one.id].look(self.metric, mine, theirs):
                    one.fate, one.beaten = f"stopped after {seen}: shown to be worse than the best", True
                else:
                    alive.append(one)
            alive.sort(key=lambda one: (-self._promise(one), one.tokens / len(one.scores), one.id))
            room = next((n for n, upto in stages(len(everyone), len(self.dev)) if upto > seen), 1)
            for one in alive[room:]:
                one.fate = f"halved out after {seen}"
            racing = alive[:room]
        won: PromptCandidate | None = None
        test: Difference | None = None
        for last in racing:
            test = self._compare(last)
            wins = self.sign * test.value > 0 and test.p / 2 <= self.rung.alpha
            last.fate = "kept" if wins else "not kept: the paired test does not say that it is better"
            won = last if wins else None
        self._learn(new)
        shown = racing[0] if racing else max(everyone, key=self._gain)
        diff = _diff(best, shown)
        self.log.add(self._record(everyone, shown, test, won, diff))
        self.notes = []
        name = f"step-{self.steps:02d}-{'kept' if won else 'not-kept'}.diff"
        (self.context.folder / name).write_text(diff, encoding="utf-8")
        change = f"{self._gain(shown):+.3f}, one-sided p {test.p / 2:.3f}" if test else "all were worse"
        self.best = won or best
        self._say("step", f"{'kept' if won else 'not kept'} {shown.source} ({shown.note}): {change}")

    async def _race(self, racing: Sequence[PromptCandidate], wave: Sequence[int]) -> None:
        """All of them answer the wave at once; the first error cancels the rest."""

        async def answer(one: PromptCandidate) -> None:
            await self._answer(one, wave)
            self._say("race", f"{one.source} {self._value(one):.3f} after {len(one.scores)}")

        try:
            async with asyncio.TaskGroup() as group:
                for one in racing:
                    group.create_task(answer(one))
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    def _order(self) -> list[int]:
        """Dev examples in another order at each step, so that not always the same few decide who goes on."""
        order = list(range(len(self.dev)))
        random.Random(f"{self.context.seed} order {self.steps}").shuffle(order)
        return order

    def _compare(self, candidate: PromptCandidate) -> Difference:
        indices = sorted(candidate.scores)
        mine, theirs = ([one.scores[i] for i in indices] for one in (candidate, self.best))
        return paired(self.metric, mine, theirs)

    def _learn(self, raced: Sequence[PromptCandidate]) -> None:
        for one in raced:
            tally = self.tallies[one.source if one.source in self.tallies else REFLECTION]
            tally.asked += 1
            tally.reward += min(1.0, max(0.0, 0.5 + self._gain(one)))

    def _gain(self, candidate: PromptCandidate) -> float:
        """How much better than the best so far, on the dev examples that the candidate has answered."""
        indices = sorted(candidate.scores)
        mine, theirs = ([one.scores[i] for i in indices] for one in (candidate, self.best))
        return self.sign * float(self.metric.reduce(mine)[0] - self.metric.reduce(theirs)[0])

    def _promise(self, candidate: PromptCandidate) -> float:
        """What decides who goes on: the gain, and as much the gain in what the model gave the right answer. On six examples
        two prompts are often equally often right and differ in how surely."""
        indices = list(candidate.scores)
        surer = sum(candidate.sure[i] - self.best.sure[i] for i in indices) / len(indices)
        return (self._gain(candidate) + surer) / 2

    def _sure(self, result: Result) -> float:
        """The probability of the right answer, 0 to 1: known where the answer is right, spread evenly where it is wrong."""
        value, confidence = self.sign * result.scores[self.metric.name].value, result.answer.confidence
        if confidence is None or result.answer.failure is not None or self.task.form.kind != "labels":
            return value
        return confidence if value >= 1 else (1 - confidence) / max(1, len(self.task.form.labels) - 1)

    def _value(self, candidate: PromptCandidate) -> float:
        return float(self.metric.reduce([candidate.scores[i] for i in sorted(candidate.scores)])[0])

    # -------------------------------------------------- the front, and what is told

    def front(self) -> dict[int, set[int]]:
        """The prompts that nobody beats on some dev example, each with those examples; a prompt whose examples all
        belong to another on the front as well, with a better mean, is left out."""
        wins: dict[int, set[int]] = {}
        for index in range(len(self.dev)):
            values = {one.id: self.sign * one.scores[index].value for one in self.known if index in one.scores}
            if not values:
                continue
            top = max(values.values())
            for id, value in values.items():
                if value == top and value > self.sign * _worst(self.metric):
                    wins.setdefault(id, set()).add(index)
        if not wins:
            return {self.best.id: {0}}
        ranked = sorted(wins, key=lambda id: (-len(wins[id]), -self.sign * self._value(self.known[id]), id))
        kept: list[int] = []
        for id in ranked:
            if not any(wins[id] <= wins[other] for other in kept):
                kept.append(id)
        return {id: wins[id] for id in kept}

    def _chain(self, candidate: PromptCandidate) -> list[PromptCandidate]:
        """The edits from the start to ``candidate``, first one first."""
        out = []
        while candidate.id:
            out.append(candidate)
            candidate = self.known[candidate.parent]
        return out[::-1]

    def _record(
        self,
        raced: Sequence[PromptCandidate],
        shown: PromptCandidate,
        test: Difference | None,
        won: PromptCandidate | None,
        diff: str,
    ) -> dict[str, Any]:
        return {
            "step": self.steps,
            "calls": self.used,
            "best": self._value(won or self.best),
            "kept": won.id if won else None,
            "edit": {"id": shown.id, "source": shown.source, "note": shown.note, "parent": shown.parent},
            "test": None
            if test is None
            else {"difference": test.value, "low": test.low, "high": test.high, "p": test.p / 2},
            "front": sorted(self.front()),
            "candidates": [
                {
                    "id": one.id,
                    "source": one.source,
                    "note": one.note,
                    "parent": one.parent,
                    "n": len(one.scores),
                    "value": self._value(one),
                    "gain": self._gain(one),
                    "fate": one.fate,
                }
                for one in raced
            ],
            "notes": self.notes,
            "diff": diff,
        }

    def _note(self, text: str) -> None:
        self.notes.append(text)
        self._say("note", text)

    def _say(self, stage: str, what: str) -> None:
        best = f"best {self._value(self.best):.3f}; " if self.steps or stage == "step" else ""
        note = f"{best}{what}"
        self.context.progress(Progress(f"{stage} {self.steps}".strip(), self.used, self.rung.calls, note))


def _worst(metric: Metric) -> float:
    """The value of an answer that is wrong: winning with it is no win. Metrics whose best is low have no such value."""
    return 0.0 if metric.higher_is_better else float("inf")


def _content(example: Example) -> str:
    return digest([dict(example.input), example.reference])


def _diff(before: PromptCandidate, after: PromptCandidate) -> str:
    lines = unified_diff(
        written(before.program).splitlines(),
        written(after.program).splitlines(),
        f"prompt {before.id} ({before.source}: {before.note})",
        f"prompt {after.id} ({after.source}: {after.note})",
        lineterm="",
        n=2,
    )
    return "\n".join(lines) + "\n"
