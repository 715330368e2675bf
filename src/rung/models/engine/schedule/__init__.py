"""Continuous batching with prefix-first scheduling, independent of the engine that computes.

A *job* is a prompt and what to do with the logits that follow it (decode, search a label trie, beams). The scheduler
keeps the key/value cache in blocks and a tree of the prompts' blocks. A job whose next tokens are being computed by
another job waits one round and then shares them, so a prefix that many prompts have in common is computed once, by the
first of them, and fanned out to the rest; the tokens shared inside the last block are copied, not computed.

What is computed for a job never depends on which other jobs run beside it: prompts are cut only where at least two
tokens remain (attention over one query token runs another kernel), and blocks that decoding wrote are never shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """Tokens to compute at positions ``past``... of a sequence whose cache lies in ``blocks``; ``wanted``: the logits
    after the last of them are needed. ``adapter`` is the number of the adapter that computes them (0: none)."""

    tokens: Sequence[int]
    past: int
    blocks: Sequence[int]
    wanted: bool = True
    adapter: int = 0


class Device(Protocol):
    """What computes. ``forward`` returns float32 logits of shape (number of wanted spans, vocabulary), valid until the
    next call; ``copy`` duplicates a cache block."""

    @property
    def block(self) -> int:
        """Tokens a cache block holds."""
        ...

    @property
    def blocks(self) -> int:
        """Cache blocks there are."""
        ...

    def forward(self, spans: Sequence[TokenSpan]) -> NDArray[np.float32]: ...
    def copy(self, source: int, target: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Feed:
    """What a job wants computed next: take branch ``parent``, keep ``keep`` tokens after the prompt, append
    ``tokens``."""

    tokens: tuple[int, ...]
    keep: int
    parent: int = 0


@dataclass
class Cost:
    """What a job has used so far: tokens computed and reused, and its share of wall and CPU seconds."""

    cached: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Job(Protocol):
    """``room``: tokens it may append to the prompt on each of ``width`` branches. ``advance`` gets the logits of its
    last feeds (first: after the prompt) as rows, and returns the next feeds; none: the job is finished. Prompts of
    different ``adapter`` share nothing."""

    prompt: tuple[int, ...]
    adapter: int
    room: int
    width: int
    cost: Cost

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]: ...
    def finish(self, error: BaseException | None) -> None:
        """Called once, when the job is done, failed or was cancelled."""
        ...
