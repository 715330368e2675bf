"""The classes of agents against each other, each where it should be better: in pairs, over the same scenarios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rung.agents.environments.environment import numbers
from rung.agents.loop.episode import Episode
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.view import View
from rung.agents.policies.choice import make_policy
from rung.agents.policies.classes.learning import QLearning
from rung.agents.program.program import AgentProgram
from rung.agents.rungs import practise
from rung.core.protocols import Resources
from rung.core.types.trail import MemoryTrail
from rung.metrics.stats import mcnemar, permutation, student, tango

MUDDY = {"name": "gridworld", "size": 6, "walls": 0.15, "mud": 0.35, "map": 7}
"""One map whose mud no designer knows of: what only a learner can find out."""


@dataclass(frozen=True, slots=True)
class Match:
    """Two policies on ``n`` scenarios of an environment: the mean of ``what`` of each, the mean difference with the
    ends of its 95% interval, and p of no difference (McNemar for shares, Tango's interval; else a permutation test,
    Student's interval)."""

    environment: str
    what: str
    better: str
    other: str
    value: float
    against: float
    difference: float
    low: float
    high: float
    p: float
    n: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean reward of a learner on scenarios it has not trained on, after ``episodes``, with the ends of its 95%
    interval."""

    episodes: int
    value: float
    low: float
    high: float


def solved(view: View) -> float:
    return float(bool(view.ended and view.ended["verdict"] and view.ended["verdict"]["solved"]))


def reward(view: View) -> float:
    return view.reward


def expected(view: View) -> float:
    """What the lottery that was taken is worth on average."""
    lots, taken = view.percept["lots"], view.percept["taken"]
    return float(sum(chance * prize for chance, prize in lots.get(taken, ())))


async def play(policy: Any, environment: Any, scenarios: Sequence[str], resources: Resources) -> list[View]:
    """An episode of the policy (or what makes one) in each scenario."""
    made = policy if not isinstance(policy, str | dict) else make_policy(policy, resources)
    program = AgentProgram(made, environment=environment, limits=EpisodeLimits(steps=120))
    out = []
    for scenario in scenarios:
        episode = Episode(program.agent(), f"classes-{scenario}", MemoryTrail())
        out.append(await episode.run(program.start({"scenario": scenario})))
    return out


def match_up(where: tuple[str, str], names: tuple[str, str], one: Sequence[float], other: Sequence[float]) -> Match:
    """Compare two lists of values on the same scenarios."""
    a, b = np.asarray(one), np.asarray(other)
    n, mean = len(a), float((a - b).mean())
    if set(np.unique(np.concatenate([a, b]))) <= {0.0, 1.0}:
        left, right = int((a > b).sum()), int((b > a).sum())
        span, p = tango(left, right, n), mcnemar(left, right)
        low, high = span.low, span.high
    else:
        half = student(0.975, n - 1) * float((a - b).std(ddof=1)) / n**0.5
        low, high, p = mean - half, mean + half, permutation(a - b)
    return Match(*where, *names, float(a.mean()), float(b.mean()), mean, low, high, p, n)


async def matches(seeds: int, resources: Resources) -> list[Match]:
    """Rows 96 to 98 of the classes, and order of work by deadline: each pair on ``seeds`` test scenarios."""
    moved = {"name": "gridworld", "moved": True}
    plans: list[tuple[Any, str, Callable[[View], float], Any, list[Any]]] = [
        ("gridworld", "solved", solved, "model_based", ["reflex"]),
        ("thermostat", "solved", solved, "model_based", ["reflex"]),
        (moved, "solved", solved, "goal", ["reflex", "model_based"]),
        ("lotteries", "expected prize", expected, "utility", ["reflex", "goal"]),
        ("queue", "solved", solved, {"name": "task_list", "order": "due"}, [{"name": "task_list", "order": "fifo"}]),
        ("queue", "won", reward, {"name": "task_list", "order": "due"}, [{"name": "task_list", "order": "fifo"}]),
    ]
    out, scenarios = [], numbers("test", seeds)
    for environment, what, measure, better, others in plans:
        mine = [measure(view) for view in await play(better, environment, scenarios, resources)]
        for other in others:
            theirs = [measure(view) for view in await play(other, environment, scenarios, resources)]
            name = environment if isinstance(environment, str) else f"{environment['name']}, goal moved"
            out.append(match_up((name, what), (_name(better), _name(other)), mine, theirs))
    return out


def _name(policy: Any) -> str:
    return policy if isinstance(policy, str) else f"{policy['name']} ({policy['order']})"


async def learned(seeds: int, episodes: int, resources: Resources) -> tuple[list[Curve], list[Match]]:
    """Row 99: the learner's curve on a muddy map, and what it gets in the end beside the other four."""
    scenarios = numbers("test", seeds)
    learner, curve = QLearning(explore=0.2), []
    program = AgentProgram(learner, environment=MUDDY, limits=EpisodeLimits(steps=120))
    marks = sorted({0, *(episodes * part // 8 for part in (1, 2, 4)), episodes})
    last: list[float] = []
    for at in range(episodes + 1):
        if at in marks:
            views = await play(replace(learner, explore=0.0), MUDDY, scenarios, resources)
            last = [view.reward for view in views]
            half = student(0.975, seeds - 1) * float(np.std(last, ddof=1)) / seeds**0.5
            curve.append(Curve(at, float(np.mean(last)), float(np.mean(last)) - half, float(np.mean(last)) + half))
        if at < episodes:
            learner, _ = await practise(program, learner, {"scenario": str(at)}, at)
    out = []
    for other in ("reflex", "model_based", "goal", "utility"):
        theirs = [view.reward for view in await play(other, MUDDY, scenarios, resources)]
        out.append(match_up(("gridworld, mud", "reward"), ("learning", other), last, theirs))
    return curve, out
