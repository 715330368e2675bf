"""What an episode's events add up to: all that a policy may decide by. Events are folded in as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.move import Call
from rung.agents.loop.repeats import Repeats
from rung.core.codec import canonical
from rung.core.types import ToolSpec, Usage
from rung.core.types.trail import Event


@dataclass(slots=True)
class Pending:
    """A call and, once it has come, what it gave. ``seq`` is the number of the event that wrote the call down."""

    seq: int
    tool: str
    arguments: Mapping[str, Any]
    key: str
    text: str | None = None
    refused: bool = False
    trust: str = "trusted"
    reward: float = 0.0


@dataclass(slots=True)
class EpisodeTurn:
    """A decision and its calls; ``heard`` is what people said before it."""

    seq: int
    thought: str
    reply: str = ""
    plan: Any = None
    percept: Any = None
    calls: list[Pending] = field(default_factory=list)
    heard: tuple[str, ...] = ()


@dataclass(slots=True)
class View:
    """An episode as far as it has come. ``percept`` is what the environment showed last, ``said`` what people and the harness said
    since the last decision, ``heard`` what people said at any time, ``memo`` a policy's own notes, which a crash empties."""

    tools: tuple[ToolSpec, ...] = ()
    volatile: frozenset[str] = frozenset()
    limits: EpisodeLimits = field(default_factory=EpisodeLimits)
    domain: Any = None
    oracle: Callable[[], Any] | None = None
    complaint: Callable[[Call], str] = lambda _: ""
    request: str = ""
    scenario: str = ""
    seed: int = 0
    lessons: tuple[Mapping[str, Any], ...] = ()
    percept: Any = None
    said: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    turns: list[EpisodeTurn] = field(default_factory=list)
    open: dict[int, Pending] = field(default_factory=dict)
    plan: Any = None
    usage: Usage = Usage()
    steps: int = 0
    seconds: float = 0.0
    reward: float = 0.0
    repeats: Repeats = field(default_factory=Repeats)
    warned: int = 0
    masked: set[tuple[str, str]] = field(default_factory=set)
    state: str = ""
    done: bool = False
    paused: bool = False
    waiting: str = ""
    child: str = ""
    replied: bool = False
    converses: bool = False
    unknown: int | None = None
    stopped: str = ""
    ended: Mapping[str, Any] | None = None
    calls: dict[str, int] = field(default_factory=dict)
    last: Event | None = None
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def last_result(self) -> str | None:
        """What the last call gave that was not refused; None: there is none."""
        return next(
            (call.text for turn in reversed(self.turns) for call in reversed(turn.calls) if not call.refused), None
        )

    def add(self, event: Event) -> None:
        """Fold the next event in."""
        kind, payload = event.kind, event.payload
        if self.last is not None and kind not in ("resumed", "steered"):
            self.seconds += max(0.0, event.at - self.last.at)
        elif kind == "resumed" and self.child:  # whether the child goes on is seen by making its call again
            self.waiting = self.child = ""
        self.last = event
        if kind == "observed":
            self._observed(payload)
        elif kind == "said":
            self._said(event.seq, payload)
        elif kind == "called":
            call = Pending(event.seq, payload["tool"], payload["arguments"], payload["key"])
            self.open[event.seq] = call
            self.turns[-1].calls.append(call)
            self.calls[call.tool] = self.calls.get(call.tool, 0) + 1
        elif kind == "begun":
            self.request, self.scenario, self.seed = payload["request"], payload["scenario"], payload["seed"]
            self.lessons = tuple(payload.get("lessons", ()))
            self.converses = payload.get("converses", False)
        elif kind == "warned":
            self._warned(payload)
        elif kind == "steered":
            self._steered(payload)
        elif kind == "asked":
            self.waiting, self.unknown = payload["text"], payload.get("call")
            self.child, self.replied = payload.get("child", ""), payload.get("reply", False)
        elif kind == "ended":
            self.ended = payload

    def _observed(self, payload: Mapping[str, Any]) -> None:
        self.state = payload.get("state", self.state)
        self.reward += payload.get("reward", 0.0)
        self.done = self.done or payload.get("done", False)
        if "value" in payload:
            self.percept = payload["value"]
        if "usage" in payload:
            self.usage = self.usage + Usage(**payload["usage"])
        seq = payload.get("call")
        if seq is None:  # not what a call gave: the request, a message
            self.said.append(payload["text"])
            self.heard.append(payload["text"])
            return
        call = self.open.pop(seq, None)
        if call is None:  # refused before it was made
            call = Pending(seq, payload["tool"], payload["arguments"], "")
            self.turns[-1].calls.append(call)
        call.text, call.refused = payload["text"], payload.get("refused", False)
        call.trust, call.reward = payload.get("trust", "trusted"), payload.get("reward", 0.0)
        self.repeats.add(
            signature(call.tool, call.arguments), call.text, self.state, volatile=call.tool in self.volatile
        )

    def _said(self, seq: int, payload: Mapping[str, Any]) -> None:
        self.steps += 1
        if "usage" in payload:
            self.usage = self.usage + Usage(**payload["usage"])
        self.plan = payload.get("plan", self.plan)
        turn = EpisodeTurn(seq, payload.get("thought", ""), payload.get("reply", ""), payload.get("plan"), self.percept)
        if self.converses:
            turn.heard = tuple(text for text in self.said if text != self.request)
        self.turns.append(turn)
        if not payload.get("withdrawn"):  # it was decided without what has been said since
            self.said = []

    def _warned(self, payload: Mapping[str, Any]) -> None:
        self.warned += 1
        self.said.append(payload["text"])
        if "mask" in payload:
            self.masked.add(tuple(payload["mask"]))

    def _steered(self, payload: Mapping[str, Any]) -> None:
        do = payload["do"]
        self.paused = do == "pause" or (self.paused and do != "resume")
        if do == "say":
            self.waiting = ""
            if (call := self.open.pop(self.unknown, None) if self.unknown is not None else None) is not None:
                call.text = payload["text"]  # a person tells what became of a call
            else:
                self.said.append(payload["text"])
                self.heard.append(payload["text"])
        elif do == "stop":
            self.stopped = "person"


def signature(tool: str, arguments: Mapping[str, Any]) -> str:
    """A call as one text; equal calls have equal texts."""
    return f"{tool} {canonical(arguments)}"
