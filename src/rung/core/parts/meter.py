"""One meter. Models report what each call used; whoever opened a scope around the call reads the sum.

Scopes nest: usage counts in every open scope of the task that made the call, so a program's answer, a rung's total and
a climb's budget are the same numbers added up at different heights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rung.core.errors import BudgetExceeded
from rung.core.types import Budget, Usage

_scopes: ContextVar[tuple[Meter, ...]] = ContextVar("rung_meter", default=())


class Meter:
    """Adds up usage; with a ``budget`` it refuses further calls once a limit is reached."""

    __slots__ = ("budget", "total")

    def __init__(self, budget: Budget | None = None) -> None:
        self.total = Usage()
        self.budget = budget

    def check(self) -> None:
        """Raise BudgetExceeded when the tokens or money of the budget are spent (seconds are the ladder's to watch)."""
        if self.budget is None:
            return
        if self.budget.tokens is not None and self.total.tokens >= self.budget.tokens:
            raise BudgetExceeded(
                f"the budget of {self.budget.tokens:,} tokens is spent ({self.total.tokens:,} used)",
                remedy="raise budget.tokens in the task file, or try fewer rungs",
            )
        if self.budget.money is not None and self.total.money >= self.budget.money:
            raise BudgetExceeded(
                f"the budget of ${self.budget.money:.2f} is spent (${self.total.money:.4f} used)",
                remedy="raise budget.money in the task file, or try fewer rungs",
            )


@contextmanager
def metered(budget: Budget | None = None) -> Iterator[Meter]:
    """Open a scope: everything models report inside it (also from tasks started inside) is added to the yielded
    Meter."""
    meter = Meter(budget)
    token = _scopes.set((*_scopes.get(), meter))
    try:
        yield meter
    finally:
        _scopes.reset(token)


def report(usage: Usage) -> None:
    """Called at the model boundary, once a finished call."""
    for meter in _scopes.get():
        meter.total = meter.total + usage


def check() -> None:
    """Called at the model boundary before a call: raises BudgetExceeded when any open scope's budget is spent."""
    for meter in _scopes.get():
        meter.check()
