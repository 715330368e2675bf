"""What an environment is, and what its designer tells the policies about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, runtime_checkable

from rung.agents.loop.move import Call
from rung.core.errors import InputError
from rung.core.types import ToolSpec, Usage


@dataclass(frozen=True, slots=True)
class Observation:
    """What an environment shows: ``text`` for a model, ``value`` (plain JSON) for a policy without one. ``refused``:
    the call changed nothing, the text says why. ``done``: nothing can be done any more. ``usage`` is what a tool has
    asked models for."""

    text: str
    value: Any = None
    reward: float = 0.0
    done: bool = False
    refused: bool = False
    trust: Literal["trusted", "untrusted"] = "trusted"
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Judgement:
    """How an episode ended by the state of the world, not by the agent's word. ``missing`` is what the goal lacks;
    ``harms`` what should not have been done, ``attempted`` such attempts that were refused; ``claims`` in the output
    that could be checked, and the ``wrong`` ones among them; ``coverage`` the share of the goal's parts that the first
    plan named (None: no plan). ``advice`` is what a reviewer would say: rules, nothing of the scenario. The harness
    adds the calls that its guard ``blocked`` and those of them that would have done no harm (``false_blocks``)."""

    solved: bool
    missing: tuple[str, ...] = ()
    harms: tuple[str, ...] = ()
    attempted: tuple[str, ...] = ()
    claims: int = 0
    wrong: tuple[str, ...] = ()
    coverage: float | None = None
    advice: tuple[Mapping[str, Any], ...] = ()
    blocked: tuple[str, ...] = ()
    false_blocks: tuple[str, ...] = ()


def coverage(plan: Any, parts: Sequence[str]) -> float | None:
    """The share of ``parts`` (names of tools, as often as each is needed) that a plan names; None: there is no plan."""
    if not plan or not parts:
        return None
    steps = plan.get("steps") or plan.get("tasks") or () if isinstance(plan, Mapping) else plan
    named = Counter(
        str(step.get("tool") or (step.get("call") or {}).get("tool")) for step in steps if isinstance(step, Mapping)
    )
    return (Counter(parts) & named).total() / len(parts)


@runtime_checkable
class Environment(Protocol):
    """A world. No clock and no chance but the scenario's and the seed's: equal calls, equal observations.

    ``name`` with ``scenario`` makes it again. Whatever ``judge`` compares with is in no observation and no tool.
    """

    @property
    def name(self) -> str: ...
    def scenarios(self, split: Literal["train", "dev", "test"], count: int) -> list[str]:
        """Names of scenarios; the splits have none in common."""
        ...

    def reset(self, scenario: str, seed: int = 0) -> Observation:
        """Begin anew. The text says what is asked for; the task is the scenario's, the ``seed`` changes luck and order
        at most. Raises InputError for a scenario that there is none of."""
        ...

    def tools(self) -> Sequence[ToolSpec]: ...
    def step(self, call: Call) -> Observation:
        """Do what is asked; the call's arguments are valid under the tool's schema."""
        ...

    def fork(self) -> Self:
        """A copy that goes its own way."""
        ...

    def state(self) -> Any:
        """All that can change, as plain JSON."""
        ...

    def judge(self, output: Any, plan: Any = None) -> Judgement: ...
    def oracle(self) -> list[Call]:
        """Calls that reach the goal from the beginning; it tests the harness, no agent sees it."""
        ...

    def domain(self) -> Domain | None:
        """What the designer of an agent for this environment knows; nothing of the scenario. None: nothing beyond its
        tools."""
        ...


Belief = Any
"""What an agent takes the world to be like: plain data, never changed in place."""


class Domain(Protocol):
    """A designer's knowledge of an environment: what the classes of agents (Russell and Norvig, ch. 2) are made
    with."""

    def react(self, percept: Any) -> Call | None:
        """Condition-action rules on what is seen now; None: nothing is left to do."""
        ...

    def believe(self, belief: Belief | None, call: Call | None, percept: Any) -> Belief:
        """The belief after a call and what was seen then; None and None: the first percept."""
        ...

    def explore(self, belief: Belief) -> Call | None:
        """The rules with a belief to go by."""
        ...

    def options(self, belief: Belief) -> list[Call]: ...
    def predict(self, belief: Belief, call: Call) -> list[tuple[float, Belief]]:
        """Beliefs that a call may lead to and their probabilities."""
        ...

    def reached(self, belief: Belief) -> bool: ...
    def worth(self, belief: Belief) -> float:
        """How good it is to be there: larger is better."""
        ...

    def key(self, belief: Belief) -> Hashable:
        """Beliefs with equal keys are one place for a search."""
        ...

    def features(self, percept: Any) -> str:
        """What a table of values is looked up by."""
        ...


@runtime_checkable
class Assessing(Protocol):
    """Optional on an Environment: it can tell what a call would do, for the counts of what a guard blocked."""

    def harm(self, call: Call) -> str:
        """The harm that a call would do now; nothing: none."""
        ...


@runtime_checkable
class Teachable(Protocol):
    """Optional on a Domain: lessons of earlier episodes change what it believes."""

    def teach(self, belief: Belief, lesson: Mapping[str, Any]) -> Belief:
        """The belief with one lesson taken in."""
        ...


@runtime_checkable
class Listing(Protocol):
    """Optional on a Domain: it can put what is to be done as a list."""

    def tasks(self, percept: Any) -> list[dict[str, Any]]:
        """What is to be done, as {task: words, call: {tool, arguments}, due: number, worth: number}."""
        ...


def number(scenario: str, name: str) -> int:
    """The number of a scenario. Raises InputError for anything else."""
    if scenario.isascii() and scenario.isdigit() and len(scenario) < 10:
        return int(scenario)
    raise InputError(
        f"{name} has no scenario {scenario!r}: expected a number of 0 or more",
        remedy=f"write {name}:7",
        code="scenario",
    )


BLOCKS: Mapping[str, int] = {"train": 0, "dev": 100_000, "test": 200_000}
"""Where the scenario numbers of each split begin."""


def numbers(split: Literal["train", "dev", "test"], count: int) -> list[str]:
    """The first ``count`` scenario numbers of a split."""
    if not 0 <= count <= 100_000:
        raise ValueError(f"{count} scenarios, expected 0 to 100,000")
    return [str(BLOCKS[split] + at) for at in range(count)]
