"""What an episode's events add up to: all that a policy may decide by. Events are folded in as they come."""

from __future__ import annotations

import math
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
    value: Any = None


@dataclass(slots=True)
class Held:
    """A call that waits for a person, and their word on it when it has come."""

    tool: str
    arguments: Mapping[str, Any]
    because: str = ""
    digest: str = ""
    word: Mapping[str, Any] | None = None


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
    """An episode as far as it has come. ``percept`` is what the environment showed last, ``said`` what people and the
    harness said since the last decision, ``heard`` what people said at any time, ``told`` those of their words that are
    trusted, with the events, ``memo`` a policy's own notes, which a crash empties. ``held`` are calls that wait for a
    person, by the event that asked. ``seconds`` were spent at work: between the events of one process, the last of
    which was stamped ``driven``."""

    tools: tuple[ToolSpec, ...] = ()
    volatile: frozenset[str] = frozenset()
    limits: EpisodeLimits = field(default_factory=EpisodeLimits)
    domain: Any = None
    oracle: Callable[[], Any] | None = None
    complaint: Callable[[Call], str] = lambda _: ""
    request: str = ""
    user: str = ""
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
    held: dict[int, Held] = field(default_factory=dict)
    asked: int = 0
    expires: float = math.inf
    blocked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    told: list[tuple[str, int]] = field(default_factory=list)
    stopped: str = ""
    ended: Mapping[str, Any] | None = None
    calls: dict[str, int] = field(default_factory=dict)
    last: Event | None = None
    driven: float | None = None
    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def last_result(self) -> str | None:
        """What the last call gave that was not refused; None: there is none."""
        return next(
            (call.text for turn in reversed(self.turns) for call in reversed(turn.calls) if not call.refused), None
        )

    def add(self, event: Event) -> None:  # noqa: C901 (an arm for each kind)
        """Fold the next event in."""
        kind, payload = event.kind, event.payload
        if kind not in ("steered", "decided"):  # those are other people's, by their clocks
            if self.driven is not None and kind != "resumed":
                self.seconds += max(0.0, event.at - self.driven)
            self.driven = event.at
        # Whether the child goes on is seen by making its call again.
        if kind == "resumed" and self.child and "clock" not in payload:
            self.waiting = self.child = ""
        self.last = event
        if kind == "observed":
            self._observed(payload)
        elif kind == "said":
            self._said(event.seq, payload)
        elif kind == "called":
            self._settled(payload)
            call = Pending(event.seq, payload["tool"], payload["arguments"], payload["key"])
            self.open[event.seq] = call
            self.turns[-1].calls.append(call)
            self.calls[call.tool] = self.calls.get(call.tool, 0) + 1
        elif kind == "begun":
            self.request, self.scenario, self.seed = payload["request"], payload["scenario"], payload["seed"]
            self.lessons, self.user = tuple(payload.get("lessons", ())), payload.get("user", "")
            self.converses = payload.get("converses", False)
        elif kind == "warned":
            self._warned(payload)
        elif kind == "steered":
            self._steered(payload)
        elif kind == "asked":
            self._asked(event.seq, payload)
        elif kind == "decided":
            self._decided(payload)
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
            self._told(payload)
            return
        call = self.open.pop(seq, None)
        if call is None:  # refused before it was made
            self._settled(payload)
            if payload.get("blocked"):
                self.blocked.append((payload["tool"], payload["arguments"]))
            call = Pending(seq, payload["tool"], payload["arguments"], "")
            self.turns[-1].calls.append(call)
        call.text, call.refused = payload["text"], payload.get("refused", False)
        call.trust, call.reward = payload.get("trust", "trusted"), payload.get("reward", 0.0)
        call.value = payload.get("value")
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
            self.waiting, self.expires = "", math.inf
            self.held.clear()  # they were decided without this word
            call = self.open.pop(self.unknown, None) if self.unknown is not None else None
            self.unknown = None
            if call is not None:
                call.text = payload["text"]  # a person tells what became of a call
            else:
                self.said.append(payload["text"])
                self.heard.append(payload["text"])
                self._told(payload)
        elif do == "stop":
            self.stopped, self.waiting = "person", ""
            self.held.clear()

    def _told(self, payload: Mapping[str, Any]) -> None:
        if payload.get("trust", "trusted") == "trusted" and self.last is not None:
            self.told.append((payload["text"], self.last.seq))

    def _asked(self, seq: int, payload: Mapping[str, Any]) -> None:
        self._settled(payload)
        self.waiting, self.unknown = payload["text"], payload.get("call")
        self.child, self.replied = payload.get("child", ""), payload.get("reply", False)
        self.expires = payload.get("expires", math.inf)
        if (shown := payload.get("approve")) is not None:
            self.asked += 1
            self.held[seq] = Held(shown["tool"], shown["arguments"], shown["because"], shown["digest"])

    def _decided(self, payload: Mapping[str, Any]) -> None:
        held = self.held.get(payload["call"])
        if held is not None and held.word is None:
            held.word = payload
        if all(one.word is not None for one in self.held.values()):
            self.waiting, self.expires = "", math.inf

    def _settled(self, payload: Mapping[str, Any]) -> None:
        if "settles" in payload:
            self.held.pop(payload["settles"], None)
            self.waiting, self.expires = ("", math.inf) if not self.held else (self.waiting, self.expires)


def signature(tool: str, arguments: Mapping[str, Any]) -> str:
    """A call as one text; equal calls have equal texts."""
    return f"{tool} {canonical(arguments)}"
