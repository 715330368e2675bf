"""What several members that answer and agree bring over one, what it costs in tokens, and what faulty ones do to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rung.core.errors import InputError
from rung.core.parts.option import option
from rung.core.text.columns import align
from rung.core.types import Example, Interval, Progress, ResponseFormat, Result, Sampling, Score, Task
from rung.ladder.measure.evaluate import Evaluator
from rung.ladder.measure.looks import Test
from rung.ladder.view.numbers import difference, quality
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, interval, paired, wilson
from rung.prompts.program import Options, PromptProgram
from rung.prompts.select import Selector
from rung.prompts.template.prompt import Prompt
from rung.studies.study import Lab, Study, corrected, part
from rung.teams.consensus.tally import tally

_RIGHT, _WRONG = "right", "wrong"
_ROUTER = "Which group is it?"
_CRITIC = "Somebody has answered. Is the answer right or wrong?"


@dataclass(frozen=True, slots=True)
class TeamRow:
    """One way of answering: the share that is right, its paired difference from one member alone (None: it is that; of
    specialists: from the one prompt of as many tokens), tokens an answer, and the gain for each 1,000 tokens more than
    that takes."""

    way: str
    right: Interval
    difference: Difference | None
    tokens: float
    gain: float | None = None


@dataclass(frozen=True, slots=True)
class TeamTable:
    """The rows on ``n`` examples, and of the critic: how often it objects to right answers, and to wrong ones."""

    model: str
    n: int
    members: int
    rows: tuple[TeamRow, ...]
    alarms: Interval | None
    caught: Interval | None


Answers = list[list[Any]]
"""What each member says of each example; None: nothing."""


@dataclass(frozen=True)
class Teams(Study[Task, TeamTable]):
    """Votes, debate, a critic, and a router to specialists against one member alone and against one prompt of as many
    tokens; with crashed and lying members."""

    name = "teams"
    subject = "task"
    records = TeamTable

    members: int = option(5, "Members; each has its own training examples in its prompt.", low=3, high=25)
    shots: int = option(2, "Training examples in each prompt.", low=0)
    rounds: int = option(1, "Rounds of debate after the first answers.", low=0, high=5)
    limit: int = option(100, "At most this many examples of the split.", low=2)
    weigh: int = option(50, "Dev examples by which votes are weighed.", low=2)
    split: str = option("test", "dev or test.")
    seed: int = option(0, "Seed of the draws of training examples.")

    async def measure(self, subject: Task, lab: Lab) -> TeamTable:
        """Raises InputError for a task whose answers are no labels, or that has too few examples."""
        labels, examples = subject.form.labels, part(subject, self.split, self.limit)
        if subject.form.kind != "labels" or len(examples) < 2 or not subject.train or len(subject.dev) < 2:
            raise InputError(
                f"{subject.name} cannot be voted on: expected labels, training, dev and at least two other examples",
                remedy="name a task whose answer is one of some labels",
            )
        evaluator = lab.evaluator(lab.metrics(subject)[:1], run="teams", test=Test(lab.store, subject, self.name))
        ask = _Asking(evaluator, lab)
        team = [self._member(subject, lab, self.shots, self.seed + at) for at in range(self.members)]
        first = [await ask(f"member {at + 1}", program, examples) for at, program in enumerate(team)]
        answers = [[result.answer.output for result in results] for results in first]
        each = [_tokens(results) for results in first]
        weights = [await self._weight(ask, program, subject) for program in team]
        rows = [_Row("one member", answers[0], each[0])]
        wide = self._member(subject, lab, self.shots * self.members, self.seed)
        alone = await ask("one prompt with all examples", wide, examples)
        rows.append(_Row("one prompt, its examples together", [r.answer.output for r in alone], _tokens(alone)))
        every = sum(each)
        rows += [
            _Row("majority of 3", _vote(answers[:3]), sum(each[:3])),
            _Row(f"majority of {self.members}", _vote(answers), every),
            _Row("weighted by dev", _vote(answers, weights), every),
        ]
        quorum = self.members - 1
        agreed = _vote(answers, quorum=quorum)
        rows.append(_Row(f"{quorum} must agree, else the first", _or(agreed, answers[0]), every))
        debated, cost = await self._debate(ask, team, examples, answers)
        if self.rounds:
            rows.append(
                _Row(f"debate, {self.rounds} more round{'s' * (self.rounds > 1)}", _vote(debated), every + cost)
            )
        reviewed, alarms, caught, judged = await self._critic(ask, lab, subject, examples, answers)
        rows.append(_Row("critic, else the second", reviewed, each[0] + judged + each[1]))
        for faulty in range(1, self.members // 2 + 2):
            rows.append(_Row(f"majority, {faulty} lie", _vote(_lying(answers, faulty, labels)), every))
        rows += await self._routed(ask, subject, lab, examples, rows[:2])
        half = self.members // 2
        rows.append(_Row(f"majority, {half} crashed", _vote([*_silent(answers[:half]), *answers[half:]]), every))
        weighed = _vote(_lying(answers, half, labels), weights)
        rows.append(_Row(f"weighted, {half} lie", weighed, every))
        return self._table(team[0], examples, rows, alarms, caught)

    def _member(self, task: Task, lab: Lab, shots: int, seed: int) -> PromptProgram:
        selector = Selector("random", shots, task.train, seed=seed) if shots else None
        return PromptProgram(Prompt.of(task), lab.resources.model(), Options.of(task), selector)

    async def _weight(self, ask: _Asking, program: PromptProgram, task: Task) -> float:
        """The log odds of a member's accuracy on dev (Nitzan and Paroush 1982), 0 where it is no better than chance."""
        dev = task.dev[: self.weigh]
        results = await ask("weights", program, dev)
        right = sum(r.answer.output == example.reference for r, example in zip(results, dev, strict=True))
        share = (right + 1) / (len(dev) + 2)
        return max(0.0, math.log(share / (1 - share)) + math.log(len(task.form.labels) - 1 or 1))

    async def _debate(
        self, ask: _Asking, team: Sequence[PromptProgram], examples: Sequence[Example], answers: Answers
    ) -> tuple[Answers, float]:
        """Each member sees what the others said and answers again (Du et al. 2023); what that takes an answer."""
        cost = 0.0
        for number in range(self.rounds):
            following = []
            for at, program in enumerate(team):
                told = [
                    _beside(example, [said[n] for other, said in enumerate(answers) if other != at])
                    for n, example in enumerate(examples)
                ]
                results = await ask(f"debate {number + 1}", program, told)
                following.append([result.answer.output for result in results])
                cost += _tokens(results)
            answers = following
        return answers, cost

    async def _critic(
        self, ask: _Asking, lab: Lab, task: Task, examples: Sequence[Example], answers: Answers
    ) -> tuple[list[Any], Interval | None, Interval | None, float]:
        """The first member's answers, the second's in place of those that a critic objects to; how often it objects to
        right ones and to wrong ones; its tokens."""
        form = ResponseFormat("labels", (_RIGHT, _WRONG))
        prompt = Prompt(instruction=f"{task.instruction}\n\n{_CRITIC}")
        critic = PromptProgram(prompt, lab.resources.model(), Options(form, task.fields, Sampling(max_tokens=8)))
        shown = [
            replace(_beside(example, [said], "The answer"), reference=None)
            for example, said in zip(examples, answers[0], strict=True)
        ]
        results = await ask("critic", critic, shown, scored=False)
        objects = [result.answer.output == _WRONG for result in results]
        right = [said == example.reference for example, said in zip(examples, answers[0], strict=True)]
        out = [other if no else said for no, said, other in zip(objects, answers[0], answers[1], strict=True)]

        def share(of: bool) -> Interval | None:
            chosen = [no for no, good in zip(objects, right, strict=True) if good is of]
            return wilson(sum(chosen), len(chosen)) if chosen else None

        return out, share(True), share(False), _tokens(results)

    async def _routed(
        self, ask: _Asking, task: Task, lab: Lab, examples: Sequence[Example], known: Sequence[_Row]
    ) -> list[_Row]:
        """A router that names a group of labels and a specialist for each group, beside one prompt that holds so many
        examples that it takes as many tokens (by what ``known`` prompts take: with one member's, and with all)."""
        labels = task.form.labels
        size = round(math.sqrt(len(labels)))
        groups = {f"group {at // size + 1}": labels[at : at + size] for at in range(0, len(labels), size)}
        if len(labels) < 4:
            return []
        of = {label: name for name, group in groups.items() for label in group}
        about = "\n".join(f"{name}: {', '.join(group)}" for name, group in groups.items())
        train = [replace(one, reference=of[one.reference]) for one in task.train if one.reference in of]
        router = replace(
            task, instruction=f"{task.instruction}\n\n{_ROUTER}\n{about}", train=tuple(train),
            form=ResponseFormat("labels", tuple(groups)), label_notes={},
        )  # fmt: skip
        routed = await ask("router", self._member(router, lab, self.shots, self.seed), examples, scored=False)
        said: list[Any] = [None] * len(examples)
        tokens = _tokens(routed) * len(examples)
        for name, group in groups.items():
            mine = [at for at, result in enumerate(routed) if result.answer.output == name]
            own = tuple(one for one in task.train if one.reference in group)
            notes = {label: note for label, note in task.label_notes.items() if label in group}
            special = replace(task, form=ResponseFormat("labels", tuple(group)), train=own, label_notes=notes)
            program = self._member(special, lab, self.shots, self.seed)
            results = await ask(name, program, [examples[at] for at in mine], scored=False) if mine else []
            tokens += sum(result.answer.usage.tokens for result in results)
            for at, result in zip(mine, results, strict=True):
                said[at] = result.answer.output
        took = tokens / len(examples)
        few, wide = known
        each = (wide.tokens - few.tokens) / max(1, self.shots * (self.members - 1))
        shots = self.shots + max(0, round((took - few.tokens) / each)) if each > 0 else self.shots
        alone = await ask("one prompt", self._member(task, lab, shots, self.seed), examples)
        equal = _Row(f"one prompt, {shots} examples", [r.answer.output for r in alone], _tokens(alone))
        return [equal, _Row(f"router to {len(groups)} specialists (against that)", said, took, equal)]

    def _table(
        self,
        program: PromptProgram,
        examples: Sequence[Example],
        rows: Sequence[_Row],
        alarms: Interval | None,
        caught: Interval | None,
    ) -> TeamTable:
        scores = [
            [Score(float(said == example.reference)) for said, example in zip(row.said, examples, strict=True)]
            for row in rows
        ]
        made = []
        for row, mine in zip(rows, scores, strict=True):
            base = rows.index(row.against) if row.against is not None else 0
            gap = None if row is rows[0] else paired(VALUES, mine, scores[base])
            more = row.tokens - rows[base].tokens
            gain = gap.value / more * 1000 if gap is not None and more > 0 else None
            made.append(TeamRow(row.way, interval(VALUES, mine), gap, row.tokens, gain))
        return TeamTable(program.model.name, len(examples), self.members, tuple(corrected(made)), alarms, caught)

    def table(self, found: TeamTable) -> str:
        lines = [["way", "right", "against one member", "tokens", "gain per 1,000 more"]]
        for row in found.rows:
            gain = "" if row.gain is None else f"{row.gain:+.3f}"
            lines.append([row.way, quality(row.right), difference(row.difference), f"{row.tokens:.0f}", gain])
        critic = f"the critic objects to {quality(found.alarms)} of right answers and to {quality(found.caught)} of wrong ones"
        head = f"{found.model}; {found.members} members, {found.n} examples; intervals 95%, p corrected (Holm)"
        return "\n".join([head, align(lines), critic])


@dataclass(frozen=True, eq=False)
class _Row:
    way: str
    said: list[Any]
    tokens: float
    against: _Row | None = None
    """What it is compared with; None: the first row."""


@dataclass
class _Asking:
    """Answers through the journal, and tells how far it is."""

    evaluator: Evaluator
    lab: Lab

    async def __call__(
        self, what: str, program: PromptProgram, examples: Sequence[Example], *, scored: bool = True
    ) -> list[Result]:
        asked = list(examples) if scored else [replace(one, reference=_RIGHT) for one in examples]
        results = await self.evaluator(program, asked)
        self.lab.progress(Progress("teams", len(results), len(asked), what))
        return list(results)


def _tokens(results: Sequence[Result]) -> float:
    return sum(result.answer.usage.tokens for result in results) / len(results)


def _beside(example: Example, said: Sequence[Any], who: str = "Others answered") -> Example:
    """The example with what was said of it behind its last field."""
    field = list(example.input)[-1]
    told = f"{example.input[field]}\n({who}: {', '.join(str(one) for one in said if one is not None) or 'nothing'}.)"
    return replace(example, input={**example.input, field: told})


def _vote(answers: Answers, weights: Sequence[float] | None = None, quorum: int = 0) -> list[Any]:
    out = []
    for said in zip(*answers, strict=True):
        votes: Mapping[str, Any] = {str(at): one for at, one in enumerate(said)}
        if weights is not None and any(weights):  # where nobody is better than chance, all are worth the same
            out.append(tally(votes, "weighted", weights={str(at): w for at, w in enumerate(weights)}).value)
        else:
            out.append(tally(votes, "quorum" if quorum else "majority", quorum=quorum).value)
    return out


def _or(first: Sequence[Any], second: Sequence[Any]) -> list[Any]:
    return [other if one is None else one for one, other in zip(first, second, strict=True)]


def _silent(answers: Answers) -> Answers:
    return [[None] * len(said) for said in answers]


def _lying(answers: Answers, count: int, labels: Sequence[str]) -> Answers:
    """The first ``count`` members say another label than they mean: the next one."""

    def lie(said: Any) -> Any:
        return labels[(labels.index(said) + 1) % len(labels)] if said in labels else said

    return [[lie(one) for one in said] if at < count else said for at, said in enumerate(answers)]
