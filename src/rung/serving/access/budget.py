"""Budgets: set aside before a request is asked, settled by what it used, also when its caller leaves.

Each process leases slices of a limit from the store and spends them in memory (see store.gateway.spending): a request
that finds enough in its slice waits for nothing. What is not spent goes back within moments.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from rung.core.errors import RungError
from rung.core.types import Usage
from rung.serving.access.limit import UNITS, SpendingLimit
from rung.serving.apis.wire.refused import Refused
from rung.store import Store

logger = logging.getLogger("rung.serving")

SLICE = 0.02
"""Share of a limit that is leased at once (more where one request needs more)."""

FLUSH = 0.5
"""Seconds after which what was used is written down, and what lies idle given back."""

SPENT = 1.0
"""Seconds for which an exhausted limit is remembered without asking the store."""


class Account:
    """One limit of one tenant or key, in this process: a slice of it, and what was used of that."""

    def __init__(self, name: str, limit: SpendingLimit, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.name = f"{name}:{limit.unit}:{limit.period}"
        self.limit, self.store, self.clock = limit, store, clock
        self.window = -1
        self.free = 0.0
        """Leased, and neither set aside nor used."""
        self.held = 0.0
        self.used = 0.0
        self._idle = 0.0
        self._exhausted_until = 0.0
        self._lock = asyncio.Lock()
        self._stale: list[tuple[str, int, float, float]] = []

    async def take(self, amount: float) -> bool:
        """Set ``amount`` aside; False: there is not that much left in this window."""
        self._roll()
        while not self._grab(amount):
            if time.monotonic() < self._exhausted_until or amount > self.limit.amount:
                return False
            # Whoever leaves meanwhile must not take along what the store has written down as leased.
            await asyncio.shield(asyncio.create_task(self._lease(amount)))
            self._roll()
        return True

    async def _lease(self, amount: float) -> None:
        """Lease what ``amount`` needs; where there is not that much left, that is remembered."""
        async with self._lock:
            self._roll()
            window, least = self.window, amount - self.free
            if least <= 0 or time.monotonic() < self._exhausted_until:
                return
            most = max(least, self.limit.amount * SLICE)
            got = await asyncio.to_thread(self.store.spending.lease, self.name, window, self.limit.amount, least, most)
            if window != self.window:  # another one has begun: what was leased is of the old one
                self._stale.append((self.name, window, 0.0, -got))
                return
            self.free += got
            if not got:
                self._exhausted_until = time.monotonic() + SPENT  # the clock of the windows may be set back

    def spend(self, amount: float) -> None:
        """Note what was used without having been set aside."""
        self._roll()
        self.give(self.window, 0.0, amount)

    def give(self, window: int, held: float, used: float) -> None:
        """What was set aside in ``window`` was used to this amount (more, where an estimate was too low)."""
        self._roll()
        if window != self.window:
            self._stale.append((self.name, window, used, -held))
            return
        self.held -= held
        self.used += used
        self.free += held - used

    def changes(self, *, all: bool = False) -> list[tuple[str, int, float, float]]:
        """What is to be written down since the last time: used, and given back of what lay idle (``all``: everything
        free)."""
        self._roll()
        found, self._stale = self._stale, []
        # What was free all the time since is given back, a slice in use is kept; below 0 more was used than was leased.
        back = self.free if all or self.free < 0 else min(self.free, max(0.0, self._idle))
        if self.window >= 0 and (self.used or back):
            found.append((self.name, self.window, self.used, -self.used - back))
            self.used = 0.0
            self.free -= back
        self._idle = self.free
        return found

    def wait(self) -> float:
        """Seconds until the next window begins."""
        return max(1.0, self.window + self.limit.period - self.clock()) if self.limit.period else 86400.0

    def _grab(self, amount: float) -> bool:
        if self.free < amount:
            return False
        self.free -= amount
        self.held += amount
        return True

    def _roll(self) -> None:
        period = self.limit.period
        window = int(self.clock() // period * period) if period else 0
        if window == self.window:
            return
        if self.window >= 0 and (self.used or self.free):
            self._stale.append((self.name, self.window, self.used, -self.used - self.free))
        self.window, self.free, self.held, self.used, self._idle = window, 0.0, 0.0, 0.0, 0.0
        self._exhausted_until = 0.0


class Purse:
    """The limits that one request is under: its key's and its tenant's. ``settle`` must be called, whatever happens."""

    def __init__(self, accounts: Sequence[Account]) -> None:
        self.accounts = accounts
        self._held: list[tuple[Account, int, float]] = []

    async def enter(self) -> Refused | None:
        """Count the request. The error, where there are to be no more of them now."""
        return await self._take(Usage(), 1.0, ("requests",))

    async def hold(self, estimate: Usage) -> Refused | None:
        """Set aside what a request may use, instead of what was set aside for it before. The error, where it is too
        much."""
        self._release(("money", "tokens"))
        return await self._take(estimate, 0.0, ("money", "tokens"))

    def settle(self, usage: Usage) -> None:
        """The request used this, and is over."""
        spent = {"money": usage.money, "tokens": float(usage.tokens), "requests": 1.0}
        given = {id(account) for account, _, _ in self._held}
        for account, window, held in self._held:
            account.give(window, held, spent[account.limit.unit])
        for account in self.accounts:  # what was used although nothing could be set aside (a link that failed later)
            if id(account) not in given and account.limit.unit != "requests" and spent[account.limit.unit]:
                account.spend(spent[account.limit.unit])
        self._held = []

    async def _take(self, usage: Usage, requests: float, units: Sequence[str]) -> Refused | None:
        wanted = {"money": usage.money, "tokens": float(usage.tokens), "requests": requests}
        for account in self.accounts:
            unit = account.limit.unit
            if unit not in units or not wanted[unit]:
                continue
            try:
                taken = await account.take(wanted[unit])
            except RungError as error:
                logger.error("a budget cannot be looked up: %s", error.message)
                self._release(units)
                return Refused(503, "the store is in trouble", code="store", retry_after=5)
            if not taken:
                self._release(units)
                return _spent(account, wanted[unit])
            self._held.append((account, account.window, wanted[unit]))
        return None

    def _release(self, units: Sequence[str]) -> None:
        kept = []
        for account, window, held in self._held:
            if account.limit.unit in units:
                account.give(window, held, 0.0)
            else:
                kept.append((account, window, held))
        self._held = kept


def _spent(account: Account, wanted: float) -> Refused:
    limit = account.limit
    whose = "tenant" if account.name.startswith("tenant/") else "key"
    said = f"this {whose} may use {limit} ({UNITS[limit.unit]}), and this request could use {wanted:.6g} more"
    if wanted > limit.amount:
        said += "; set max_tokens lower"
    short = 0 < limit.period <= 3600
    code = "rate_limited" if short else "budget_exceeded"
    return Refused(429, said, code=code, retry_after=account.wait() if short else None, again=short)


class Budgets:
    """The accounts of this process, written down every FLUSH seconds by ``keep``."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._accounts: dict[tuple[str, SpendingLimit], Account] = {}
        self._callers: dict[
            tuple[str, str], tuple[Sequence[SpendingLimit], Sequence[SpendingLimit], list[Account]]
        ] = {}
        self._late = False

    def purse(
        self, tenant: str, key: str, tenants: Sequence[SpendingLimit], keys: Sequence[SpendingLimit]
    ) -> Purse | None:
        """The purse of a caller under the limits of its tenant and its key; None: it has none."""
        known = self._callers.get((tenant, key))
        if known is None or known[0] is not tenants or known[1] is not keys:
            found = [self._account(f"key/{key}", limit) for limit in keys]
            found += [self._account(f"tenant/{tenant}", limit) for limit in tenants]
            if len(self._callers) >= 10_000:
                self._callers.clear()
            known = self._callers[tenant, key] = (tenants, keys, found)
        return Purse(known[2]) if known[2] else None

    def _account(self, owner: str, limit: SpendingLimit) -> Account:
        account = self._accounts.get((owner, limit))
        if account is None:
            account = self._accounts[owner, limit] = Account(owner, limit, self.store)
        return account

    async def keep(self) -> None:
        """Write down what was used, until cancelled; then all of it."""
        try:
            while True:
                await asyncio.sleep(FLUSH)
                await self.flush()
        finally:
            await asyncio.shield(self.flush(all=True))

    async def flush(self, *, all: bool = False) -> None:
        """Write down what was used since the last time. A store in trouble is told, and tried again."""
        changes = [change for account in self._accounts.values() for change in account.changes(all=all)]
        if not changes:
            return
        try:
            await asyncio.to_thread(self.store.spending.settle, changes)
        except RungError as error:
            if not self._late:  # once, not twice a second onto a disk that may be full
                logger.error("what was spent could not be written down, and is tried again: %s", error.message)
            self._late = True
            for change in _added(changes):  # an account whose limit was changed has its name twice
                next(one for one in self._accounts.values() if one.name == change[0])._stale.append(change)
            return
        if self._late:
            logger.info("what was spent is written down again")
        self._late = False


def _added(changes: Sequence[tuple[str, int, float, float]]) -> list[tuple[str, int, float, float]]:
    """One change for each account and window, however long the store has been in trouble."""
    sums: dict[tuple[str, int], tuple[float, float]] = {}
    for name, window, used, held in changes:
        before = sums.get((name, window), (0.0, 0.0))
        sums[name, window] = before[0] + used, before[1] + held
    return [(name, window, used, held) for (name, window), (used, held) in sums.items()]
