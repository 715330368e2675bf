"""What a step of the search costs, in calls of a model."""

from __future__ import annotations

import math

from rung.core.protocols import Resources
from rung.core.types import Task
from rung.metrics import load_metric
from rung.metrics.rules.judge import Judge, PairJudge

PROBE = 8
"""Held-out training examples that a parent answers in a step, for rewriting and bootstrapping."""


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
