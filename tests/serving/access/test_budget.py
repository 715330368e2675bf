from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import StoreError
from rung.core.types import Usage
from rung.serving.access.budget import SPENT, Account, Budgets
from rung.serving.access.limit import SpendingLimit, read_limit
from rung.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as opened:
        yield opened


def total(store: Store) -> tuple[float, float]:
    """Used and held, of everything."""
    import sqlalchemy as sa

    c = store.spending.table.c
    row = store.database.rows(sa.select(sa.func.sum(c.used), sa.func.sum(c.held)))[0]
    return float(row[0] or 0), float(row[1] or 0)


async def spend(budgets: Budgets, limit: SpendingLimit, rng: random.Random, leave: float) -> float:
    """One request: what it spent, 0 where it was refused. Some callers leave midway."""
    purse = budgets.purse("acme", "", [limit], [])
    assert purse is not None
    cost = rng.uniform(0.001, 0.01)
    if await purse.hold(Usage(money=0.01)) is not None:
        return 0.0
    spent = 0.0
    try:
        await asyncio.sleep(rng.uniform(0, 0.002))
        spent = cost / 3
        if rng.random() < leave:
            raise asyncio.CancelledError
        spent = cost
    except asyncio.CancelledError:
        pass
    finally:
        purse.settle(Usage(money=spent))
    return spent


async def test_a_hundred_spenders_in_three_processes_stay_within_the_limit(store: Store) -> None:
    limit, rng = read_limit("money", "1/total"), random.Random(3)
    workers = [Budgets(store) for _ in range(3)]
    refused = 0
    spent = 0.0

    async def spender(budgets: Budgets) -> None:
        nonlocal spent, refused
        for _ in range(8):
            found = await spend(budgets, limit, rng, leave=0.2)
            spent += found
            refused += not found

    await asyncio.gather(*(spender(workers[at % 3]) for at in range(100)))
    for budgets in workers:
        await budgets.flush(all=True)
    used, held = total(store)
    assert used == pytest.approx(spent)
    assert spent <= 1.0
    assert refused > 0
    assert held == pytest.approx(0.0, abs=1e-9)
    # Nothing leaked: what was left can be had.
    again = Account("tenant/acme", limit, store)
    assert await again.take(1.0 - spent - 1e-6)


async def test_more_than_was_set_aside_counts_too(store: Store) -> None:
    budgets = Budgets(store)
    purse = budgets.purse("", "k", [], [read_limit("tokens", "100/total")])
    assert purse is not None
    assert await purse.hold(Usage(prompt_tokens=10)) is None
    purse.settle(Usage(prompt_tokens=95))
    await budgets.flush()
    assert (await purse.hold(Usage(prompt_tokens=10))) is not None
    await budgets.flush(all=True)
    assert total(store) == pytest.approx((95.0, 0.0), abs=1e-9)


async def test_a_window_ends_and_another_begins(store: Store) -> None:
    now = [1000.0]
    account = Account("key/k", SpendingLimit("requests", 2, 60), store, clock=lambda: now[0])
    assert [await account.take(1) for _ in range(3)] == [True, True, False]
    assert account.wait() == 20.0  # the minute that began at 960
    now[0] = 1021.0
    assert await account.take(1)
    account.give(960, 1.0, 1.0)  # a request of the minute before ends only now
    store.spending.settle(account.changes(all=True))
    used = store.spending.used([account.name])
    assert used[account.name, 960] == 1.0


async def test_who_leaves_while_a_slice_is_leased_leaves_it_to_the_others(store: Store) -> None:
    account = Account("key/k", read_limit("tokens", "100/total"), store)
    taking = [asyncio.create_task(account.take(5.0)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in taking[:2]:
        task.cancel()
    assert await taking[2]
    account.give(0, 5.0, 5.0)
    store.spending.settle(account.changes(all=True))
    assert total(store) == (5.0, 0.0)


async def test_a_request_at_the_turn_of_a_window_is_counted_in_the_new_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, lease = [1019.0], store.spending.lease
    account = Account("key/k", SpendingLimit("requests", 2, 60), store, clock=lambda: now[0])

    def late(*given: Any) -> float:
        if now[0] < 1020:  # while the store is asked another request looks at the clock
            now[0] = 1021.0
            account.spend(0.0)
        return lease(*given)

    monkeypatch.setattr(store.spending, "lease", late)
    assert await account.take(1)
    assert account.window == 1020
    store.spending.settle(account.changes(all=True))
    assert total(store) == (0.0, 1.0)


async def test_what_was_never_set_aside_counts_in_the_window_at_hand(store: Store) -> None:
    budgets = Budgets(store)
    purse = budgets.purse("", "k", [], [read_limit("tokens", "100/total")])
    assert purse is not None
    purse.settle(Usage(prompt_tokens=7))
    await budgets.flush(all=True)
    assert store.spending.used(["key/k:tokens:0"]) == {("key/k:tokens:0", 0): 7.0}


async def test_what_a_dead_process_held_is_free_again(store: Store) -> None:
    import json

    import sqlalchemy as sa

    assert store.spending.lease("key/k:money:0", 0, 1.0, 0.9, 0.9) == 0.9
    assert store.spending.lease("key/k:money:0", 0, 1.0, 0.5, 0.5) == 0.0
    c = store.spending.table.c
    owner = json.loads(store.database.rows(sa.select(c.owner))[0].owner)
    store.database.execute(sa.update(store.spending.table).values(owner=json.dumps({**owner, "pid": 2**22 + 1})))
    assert store.spending.lease("key/k:money:0", 0, 1.0, 0.5, 0.5) == 0.5


async def test_a_store_in_trouble_is_told_once_and_what_was_spent_is_written_later(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*given: object) -> None:
        raise StoreError("the disk is full")

    caplog.set_level(logging.INFO)
    budgets = Budgets(store)
    purse = budgets.purse("t", "", [read_limit("money", "1/total")], [])
    assert purse is not None
    with monkeypatch.context() as trouble:
        trouble.setattr(store.spending, "settle", full)
        for _ in range(3):
            assert await purse.hold(Usage(money=0.01)) is None
            purse.settle(Usage(money=0.01))
            await budgets.flush()
    assert [len(account._stale) for account in purse.accounts] == [1]
    assert caplog.text.count("the disk is full") == 1
    await budgets.flush(all=True)
    assert caplog.text.count("written down again") == 1
    used, held = total(store)
    assert (round(used, 9), round(held, 9)) == (0.03, 0)


async def test_a_clock_that_is_set_back_keeps_nobody_out_for_longer(store: Store) -> None:
    now = [86400.0 + 5000.0]
    limit = SpendingLimit("requests", 1, 86400)
    account, other = (Account("key/k", limit, store, clock=lambda: now[0]) for _ in range(2))
    assert await other.take(1)
    other.give(other.window, 1, 0)
    assert not await account.take(1)  # all is leased
    store.spending.settle(other.changes(all=True))
    now[0] -= 3600
    account._exhausted_until -= SPENT  # a second later, by a clock that nobody sets
    assert await account.take(1)


async def test_a_refusal_says_when_to_come_again(store: Store) -> None:
    budgets = Budgets(store)
    minute, day = read_limit("requests", "1/minute"), read_limit("money", "1/day")
    purse = budgets.purse("t", "k", [day], [minute])
    assert purse is not None
    assert await purse.enter() is None
    refused = await purse.enter()
    assert refused is not None
    assert (refused.status, refused.code, refused.kind) == (429, "rate_limited", "rate_limit_error")
    assert refused.retry_after is not None
    assert 1 <= refused.retry_after <= 60
    broke = await purse.hold(Usage(money=2.0))
    assert broke is not None
    assert (broke.status, broke.code, broke.kind) == (429, "budget_exceeded", "insufficient_quota")
    purse.settle(Usage())


@pytest.mark.parametrize("text", ["5 dollars", "-1/day", "nan", "0/day", "1/fortnight", "", "1e9e9", "/day"])
def test_amounts_that_mean_nothing_are_refused(text: str) -> None:
    from rung.core.errors import InputError

    with pytest.raises(InputError) as caught:
        read_limit("money", text)
    assert caught.value.code == "limit"
