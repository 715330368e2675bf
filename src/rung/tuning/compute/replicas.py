"""A session in several threads: each computes its share of a step's micro-batches on the same weights.

The small matrices of a small model keep one core busy, whatever threads are given to each product; two passes side by
side keep two. Only gradients and activations are a thread's own, so it costs no memory to speak of.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Barrier
from types import TracebackType
from typing import TypeVar

import torch

from rung.tuning.batches import MicroBatch
from rung.tuning.compute.packed import Packed
from rung.tuning.compute.session import Session, losses
from rung.tuning.trainer.recipe import Recipe

T = TypeVar("T")
S = TypeVar("S")
MOST = 2
"""Threads that compute side by side; each uses its part of the cores within its products."""


def wanted(recipe: Recipe) -> int:
    """How many replicas a training takes here. Dropout's draws and weights that are kept twice (full fine-tuning) want
    one."""
    return 1 if recipe.dropout or recipe.method == "full" else min(MOST, torch.get_num_threads())


@dataclass
class Replicas:
    """``sessions``: the session itself and its copies. To be used as a context: threads live within it."""

    sessions: list[Session]
    _pool: ThreadPoolExecutor | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, session: Session, recipe: Recipe) -> Replicas:
        return cls([session, *(replicate(session) for _ in range(wanted(recipe) - 1))])

    @property
    def count(self) -> int:
        return len(self.sessions)

    def __enter__(self) -> Replicas:
        if self.count > 1:
            whole = torch.get_num_threads()
            met = Barrier(self.count + 1)

            def begin() -> None:
                # the first use of a count in a thread replaces what was set there by what is set elsewhere: so ask,
                # then set
                torch.get_num_threads()
                torch.set_num_threads(max(1, whole // self.count))
                met.wait()

            self._pool = ThreadPoolExecutor(self.count, "replica")
            started = [
                self._pool.submit(begin) for _ in range(self.count)
            ]  # each waits, so each has a thread of its own
            met.wait()
            for each in started:
                each.result()
            torch.set_num_threads(whole)  # this one, and threads that are yet to come
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def gradient(self, batches: Sequence[MicroBatch], weight: float) -> tuple[float, list[str]]:
        """Add to the session's gradient that of ``weight`` times the sum of the losses; that sum so weighed, and the
        ids of the rows where it is not finite (their gradient is not computed). Equal batches give equal bits."""
        self.clear()

        def work(session: Session, batch: MicroBatch) -> float:
            part = (session.criterion or losses)(session, batch).sum() * weight
            value = float(part.detach())
            if math.isfinite(value):
                part.backward()
            return value

        found = self.run(batches, work, train=True)
        self.gather()
        bad = [
            row.id
            for batch, value in zip(batches, found, strict=True)
            if not math.isfinite(value)
            for row in batch.members
        ]
        return sum(found), bad

    def clear(self) -> None:
        """Forget the gradients of the copies; the session's own stays."""
        for session in self.sessions[1:]:
            session.grad.zero_()

    def gather(self) -> None:
        """Add the gradients of the copies to the session's own."""
        for session in self.sessions[1:]:
            self.sessions[0].grad.add_(session.grad)

    def loss(self, batches: Sequence[MicroBatch]) -> float:
        """The sum of the losses of all trained tokens, without gradients and dropout."""

        def work(session: Session, batch: MicroBatch) -> float:
            with torch.no_grad():
                return float(losses(session, batch).sum())

        return sum(self.run(batches, work, train=False))

    def run(self, batches: Sequence[S], work: Callable[[Session, S], T], *, train: bool) -> list[T]:
        """``work`` of every batch, in their order; each is done by the same session whenever there are as many."""

        def share(place: int, mine: Sequence[S]) -> list[T]:
            session = self.sessions[place]
            session.model.train(train)
            return [work(session, batch) for batch in mine]

        if self._pool is None:
            return share(0, batches)
        shares = [self._pool.submit(share, place, batches[place :: self.count]) for place in range(self.count)]
        errors = [share.exception() for share in shares]  # waits for all of them
        for error in errors:
            if error is not None:
                raise error
        return [shares[index % self.count].result()[index // self.count] for index in range(len(batches))]


def replicate(session: Session) -> Session:
    """A session over the same frozen weights and the same trained values, with a gradient of its own."""
    memo: dict[int, object] = {}
    grad = torch.zeros_like(session.grad)
    for tensor in (*session.model.parameters(), *session.causal.parameters(), *session.causal.buffers()):
        memo[id(tensor)] = tensor
        if tensor.requires_grad:
            start = (tensor.data_ptr() - session.vector.data_ptr()) // session.vector.element_size()
            twin = torch.nn.Parameter(tensor.data)
            twin.grad = grad[start : start + tensor.numel()].view(tensor.shape)
            memo[id(tensor)] = twin
    for module in session.causal.modules():
        if isinstance(packed := getattr(module, "rung_packed", None), Packed):
            memo[id(packed)] = packed
    model, causal = copy.deepcopy((session.model, session.causal), memo)
    return replace(session, model=model, causal=causal, grad=grad)
