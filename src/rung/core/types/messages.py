"""Talking to a model: what is sent, how to decode it, what comes back and what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rung.core.errors import InputError, RungError
from rung.core.parts.option import option

Role = Literal["system", "user", "assistant", "tool"]

Finish = Literal["stop", "length", "tool_calls", "filtered", "cancelled", "error"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's wish to call a tool; ``arguments`` is the parsed JSON object."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model sees it; ``schema`` is the JSON schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ``learn`` matters where a conversation is trained on: an assistant's turn with False is shown, not
    learnt."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    learn: bool = True


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The closed form an answer must have; ``text`` is free.

    ``labels``: exactly one of ``labels``. ``json``: an object valid under ``schema``. ``regex``: matches ``pattern``
    whole. ``number``: a decimal number. ``grammar``: derivable from ``pattern`` read as EBNF.
    """

    kind: Literal["text", "labels", "json", "regex", "number", "grammar"] = "text"
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)
    pattern: str = ""

    @property
    def closed(self) -> bool:
        return self.kind != "text"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. ``temperature`` 0 is greedy; ``beams`` > 1 is beam search; ``top_k`` 0 and ``top_p`` 1 cut
    nothing."""

    temperature: float = option(0.0, "0 is greedy.", low=0.0)
    top_p: float = option(1.0, "Nucleus; 1 cuts nothing.", flags=("--top-p",), low=0.0, high=1.0)
    top_k: int = option(0, "0 cuts nothing.", flags=("--top-k",), low=0)
    max_tokens: int = option(256, "Longest answer.", flags=("--max-tokens",), low=1)
    seed: int | None = option(0, "Equal seeds, equal answers (local models).")
    stop: tuple[str, ...] = ()
    beams: int = option(1, "Above 1: beam search.", low=1)
    logprobs: bool = False

    def check(self) -> None:
        """Raise InputError for what means nothing, before any provider reads it in its own way."""
        counts = self.max_tokens >= 1 and self.beams >= 1 and self.top_k >= 0
        if not (counts and 0 < self.top_p <= 1 and 0 <= self.temperature < math.inf):
            raise InputError(
                f"got {self}",
                remedy="expected max_tokens >= 1, beams >= 1, temperature >= 0, top_k >= 0, top_p above 0 and at most 1",
            )


@dataclass(frozen=True, slots=True)
class Request:
    """One call of a model. ``form`` asks for constrained decoding where the provider has it.

    ``repeat`` tells apart deliberate repetitions of one request: it is part of every cache key.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = Sampling()
    form: ResponseFormat = ResponseFormat()
    tools: tuple[ToolSpec, ...] = ()
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Ask for the probability of each candidate as the assistant's whole reply to ``messages``."""

    messages: tuple[Message, ...]
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What something cost. Tokens are counts, ``seconds`` wall time at the model, ``money`` US dollars."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    money: float = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.seconds + other.seconds,
            self.cpu_seconds + other.cpu_seconds,
            self.money + other.money,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered. ``logprobs`` has one natural-log value a completion token where the provider has them,
    ``tokens`` the text of each, and ``ids`` (local models) its number in the vocabulary, the one that ended the reply
    too.

    Where ``finish`` is "error", ``text`` is what went wrong and ``code`` its kind (see RungError)."""

    text: str
    finish: Finish = "stop"
    usage: Usage = Usage()
    model: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[float, ...] | None = None
    code: str = ""
    tokens: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()

    @classmethod
    def of(cls, error: BaseException, model: str) -> Reply:
        """What one failed request of several is answered with."""
        if isinstance(error, RungError):
            return cls(error.message, "error", model=model, code=error.code)
        return cls(str(error) or type(error).__name__, "error", model=model)


@dataclass(frozen=True, slots=True)
class Scores:
    """``logprobs[i]`` is the natural-log probability of candidate i, renormalised over the candidates (minus infinity:
    proven not to be the best and not expanded). ``best`` is the index of the most probable one."""

    logprobs: tuple[float, ...]
    best: int
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a streamed reply. The last one has ``reply`` set: the whole text, finish reason and usage."""

    text: str
    reply: Reply | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do. ``forms`` are the kinds of ResponseFormat it decodes under constraint; ``context`` is in
    tokens."""

    forms: frozenset[str] = frozenset()
    score: bool = False
    tools: bool = False
    logprobs: bool = False
    beams: bool = False
    seed: bool = False
    context: int = 8192
    local: bool = False
