"""The prompts that a search has tried, and what their answers to dev say of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from typing import Any

from rung.core.parts import program as programs
from rung.core.protocols import Metric
from rung.core.types import Result, Score, Task
from rung.metrics.stats import Difference, paired
from rung.prompts.program import PromptProgram
from rung.prompts.search.propose.proposal import written


@dataclass
class PromptCandidate:
    """A prompt in the search. ``scores`` are by index of the dev example; ``sure`` is how likely the model found the
    right answer there, where it says so (else the score again); ``fate`` says what became of it, ``beaten`` that
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


class Population:
    """All prompts so far, the best of them, and the front: those that nobody beats on some dev example."""

    def __init__(self, task: Task, metric: Metric, dev: int) -> None:
        self.task, self.metric, self.dev = task, metric, dev
        self.sign = 1 if metric.higher_is_better else -1
        self.known: list[PromptCandidate] = []
        self.best: PromptCandidate
        self._tried: set[str] = set()

    def add(self, candidate: PromptCandidate) -> bool:
        """Whether the prompt is new; what was tried once is not tried again."""
        identity = programs.fingerprint(candidate.program)
        if identity in self._tried:
            return False
        self._tried.add(identity)
        self.known.append(candidate)
        return True

    def note(self, candidate: PromptCandidate, index: int, result: Result) -> None:
        """Take in a candidate's answer to the dev example ``index``."""
        candidate.scores[index] = result.scores[self.metric.name]
        candidate.sure[index] = self._sure(result)
        candidate.tokens += result.answer.usage.tokens

    def value(self, candidate: PromptCandidate) -> float:
        return float(self.metric.reduce([candidate.scores[i] for i in sorted(candidate.scores)])[0])

    def perfect(self) -> bool:
        return self.metric.higher_is_better and all(score.value >= 1 for score in self.best.scores.values())

    def compare(self, candidate: PromptCandidate) -> Difference:
        """The candidate against the best, paired, on the dev examples that it has answered."""
        return paired(self.metric, *self._beside_best(candidate))

    def gain(self, candidate: PromptCandidate) -> float:
        """How much better than the best so far, on the dev examples that the candidate has answered."""
        mine, theirs = self._beside_best(candidate)
        return self.sign * float(self.metric.reduce(mine)[0] - self.metric.reduce(theirs)[0])

    def promise(self, candidate: PromptCandidate) -> float:
        """What decides who goes on: the gain, and as much the gain in what the model gave the right answer. On six
        examples two prompts are often equally often right and differ in how surely."""
        indices = list(candidate.scores)
        surer = sum(candidate.sure[i] - self.best.sure[i] for i in indices) / len(indices)
        return (self.gain(candidate) + surer) / 2

    def returning(self, most: int) -> list[PromptCandidate]:
        """Prompts that left a race although they were ahead of today's best: they only owe the rest of dev."""
        halved = [
            one
            for one in self.known
            if self.dev > len(one.scores) >= self.dev / 4 and not one.beaten and self.gain(one) > 0
        ]
        return sorted(halved, key=lambda one: (-self.promise(one) * math.sqrt(len(one.scores)), one.id))[:most]

    def front(self) -> dict[int, set[int]]:
        """The prompts that nobody beats on some dev example, each with those examples; a prompt whose examples all
        belong to another on the front as well, with a better mean, is left out."""
        # The value of an answer that is wrong: winning with it is no win. Metrics whose best is low have no such value.
        worst = 0.0 if self.metric.higher_is_better else float("inf")
        wins: dict[int, set[int]] = {}
        for index in range(self.dev):
            values = {one.id: self.sign * one.scores[index].value for one in self.known if index in one.scores}
            top = max(values.values(), default=0.0)
            for id, value in values.items():
                if value == top and value > self.sign * worst:
                    wins.setdefault(id, set()).add(index)
        if not wins:
            return {self.best.id: {0}}
        ranked = sorted(wins, key=lambda id: (-len(wins[id]), -self.sign * self.value(self.known[id]), id))
        kept: list[int] = []
        for id in ranked:
            if not any(wins[id] <= wins[other] for other in kept):
                kept.append(id)
        return {id: wins[id] for id in kept}

    def chain(self) -> list[PromptCandidate]:
        """The edits from the start to the best, first one first."""
        out, candidate = [], self.best
        while candidate.id:
            out.append(candidate)
            candidate = self.known[candidate.parent]
        return out[::-1]

    def record(self, candidate: PromptCandidate) -> dict[str, Any]:
        """A candidate as a line of the log shows it."""
        return {
            "id": candidate.id,
            "source": candidate.source,
            "note": candidate.note,
            "parent": candidate.parent,
            "n": len(candidate.scores),
            "value": self.value(candidate),
            "gain": self.gain(candidate),
            "fate": candidate.fate,
        }

    def _beside_best(self, candidate: PromptCandidate) -> tuple[Sequence[Score], Sequence[Score]]:
        indices = sorted(candidate.scores)
        return [candidate.scores[i] for i in indices], [self.best.scores[i] for i in indices]

    def _sure(self, result: Result) -> float:
        """The probability of the right answer, 0 to 1: known where the answer is right, spread evenly where it is
        wrong."""
        value, confidence = self.sign * result.scores[self.metric.name].value, result.answer.confidence
        if confidence is None or result.answer.failure is not None or self.task.form.kind != "labels":
            return value
        return confidence if value >= 1 else (1 - confidence) / max(1, len(self.task.form.labels) - 1)


def difference(before: PromptCandidate, after: PromptCandidate) -> str:
    """The lines that differ between two prompts, as a unified diff."""
    lines = unified_diff(
        written(before.program).splitlines(),
        written(after.program).splitlines(),
        f"prompt {before.id} ({before.source}: {before.note})",
        f"prompt {after.id} ({after.source}: {after.note})",
        lineterm="",
        n=2,
    )
    return "\n".join(lines) + "\n"
