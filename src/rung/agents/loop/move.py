"""What a policy decides, and what a policy is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rung.agents.loop.view import View


@dataclass(frozen=True, slots=True)
class Call:
    """A tool and its arguments."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: ``calls`` to make, a question to a person (``ask``), or, with ``finished``, the ``output``; none of
    them is a thought or a ``plan`` alone. ``request`` is the digest of what was sent to a model and ``reply`` what came
    back; ``learned`` is to be kept."""

    calls: tuple[Call, ...] = ()
    ask: str = ""
    finished: bool = False
    output: Any = None
    plan: Any = None
    thought: str = ""
    request: str = ""
    reply: str = ""
    learned: tuple[Mapping[str, Any], ...] = ()


def act(tool: str, /, *, because: str = "", **arguments: Any) -> Decision:
    """Call one tool; ``because`` is the thought."""
    return Decision((Call(tool, arguments),), thought=because)


def finish(output: Any = None, because: str = "") -> Decision:
    """End with an output."""
    return Decision(finished=True, output=output, thought=because)


@runtime_checkable
class AgentPolicy(Protocol):
    """How an agent decides: a frozen dataclass whose fields are its options, so that its identity is its name and
    options.

    It decides by the view alone, which is made of the events: then it decides the same after a crash. What it works out
    from them may be kept in ``view.memo``, which is empty after one. Raises Spent where what it would ask a model for
    is more than the limits leave.
    """

    async def decide(self, view: View) -> Decision: ...


@runtime_checkable
class Concluding(Protocol):
    """Optional on a AgentPolicy: the best output it has when a limit or a loop ends the episode. Without it that is
    None."""

    async def conclude(self, view: View) -> Any: ...


class Waits(Exception):
    """A call cannot go on before a person has decided something in the episode ``child``, which it began."""

    def __init__(self, text: str, child: str) -> None:
        super().__init__(text)
        self.text, self.child = text, child


class Spent(Exception):
    """A policy would need more than the limit named leaves."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit
