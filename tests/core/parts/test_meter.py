"""One meter: usage counts in every open scope around the call, also across tasks."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import threading

import pytest

from rung.core.errors import BudgetExceeded
from rung.core.parts import meter
from rung.core.parts.meter import metered, report
from rung.core.types import Budget, Usage

ONE = Usage(calls=1, prompt_tokens=10, completion_tokens=5, cached_tokens=2, seconds=0.5, cpu_seconds=0.25, money=0.125)


def test_adding_up_covers_every_field() -> None:
    total = ONE + ONE
    for item in dataclasses.fields(Usage):
        assert getattr(total, item.name) == 2 * getattr(ONE, item.name) != 0
    assert total.tokens == 30


def test_scopes_nest_and_close() -> None:
    report(ONE)  # nobody listens
    with metered() as outer:
        report(ONE)
        with metered() as inner:
            report(ONE)
        report(ONE)
    report(ONE)
    assert inner.total == ONE
    assert outer.total == ONE + ONE + ONE


def test_a_scope_closes_when_its_work_fails() -> None:
    inner = []

    def work() -> None:
        with metered() as scope:
            inner.append(scope)
            report(ONE)
            raise RuntimeError

    with metered() as outer:
        with pytest.raises(RuntimeError):
            work()
        report(ONE)
    assert (inner[0].total, outer.total) == (ONE, ONE + ONE)


async def test_tasks_started_inside_count_and_siblings_do_not_mix() -> None:
    async def answer(calls: int) -> Usage:
        with metered() as own:
            for _ in range(calls):
                await asyncio.sleep(0)
                await asyncio.gather(call(), call())
        return own.total

    async def call() -> None:
        await asyncio.sleep(0)
        report(ONE)

    with metered() as rung:
        totals = await asyncio.gather(*(answer(calls) for calls in range(10)))
    assert [total.calls for total in totals] == [2 * calls for calls in range(10)]
    assert rung.total.calls == 90
    assert rung.total.tokens == 90 * 15


async def test_a_task_started_before_the_scope_does_not_count() -> None:
    go = asyncio.Event()

    async def earlier() -> None:
        await go.wait()
        report(ONE)

    task = asyncio.create_task(earlier())
    await asyncio.sleep(0)
    with metered() as scope:
        go.set()
        await task
    assert scope.total == Usage()


async def test_work_in_a_thread_counts() -> None:
    with metered() as scope:
        await asyncio.to_thread(report, ONE)
        contextvars.copy_context().run(report, ONE)
        bare = threading.Thread(target=report, args=(ONE,))  # carries no context
        bare.start()
        bare.join()
    assert scope.total == ONE + ONE


def test_a_spent_budget_refuses_the_next_call_wherever_it_is_made() -> None:
    with metered(Budget(tokens=30)) as outer, metered():
        meter.check()
        report(ONE)
        meter.check()
        report(ONE)
        with pytest.raises(BudgetExceeded, match="30 tokens is spent") as caught:
            meter.check()
        assert "budget.tokens" in caught.value.remedy
    meter.check()
    assert outer.total.tokens == 30


def test_money_and_nothing_to_spend() -> None:
    with metered(Budget(money=0.2)):
        report(ONE)
        meter.check()
        report(ONE)
        with pytest.raises(BudgetExceeded, match=r"\$0\.20 is spent \(\$0\.2500 used\)"):
            meter.check()
    with metered(Budget(tokens=0)), pytest.raises(BudgetExceeded):
        meter.check()
    with metered(Budget(seconds=0.0)):
        report(ONE)
        meter.check()  # seconds are the ladder's to watch
