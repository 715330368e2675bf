"""Keys that are issued: made, scoped, rotated, revoked, and looked up by whoever serves.

A key is ``rung_ID_SECRET``; the store has its SHA-256. A server asks the store for a key once a second, so that one
which is revoked stops within two.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rung.core.errors import InputError, RungError
from rung.serving.access.call import Caller
from rung.serving.access.keys import hash_key
from rung.serving.access.limit import SpendingLimit, read_limit
from rung.serving.access.roles import ROLES
from rung.store import Store, StoredKey

logger = logging.getLogger("rung.serving")

AGE = 1.0
"""Seconds that a look-up holds."""

KNOWN = 10_000
"""Look-ups that are remembered at most."""

_KEY = re.compile(r"rung_([0-9a-f]{12})_[\w-]{43}")
_TENANT = re.compile(r"[\w][\w.@+-]{0,79}")
DEFAULT_PERIOD = {"money": "month", "tokens": "day", "requests": "minute"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a key may ask (``models``; empty: all) and use (``limits``)."""

    models: tuple[str, ...] = ()
    limits: tuple[SpendingLimit, ...] = ()

    def text(self) -> str:
        return json.dumps({"models": self.models, "limits": [[x.unit, x.amount, x.period] for x in self.limits]})

    @classmethod
    def read(cls, text: str) -> Scope:
        value = json.loads(text)
        return cls(tuple(value["models"]), tuple(SpendingLimit(*one) for one in value["limits"]))


@dataclass(frozen=True, slots=True)
class Holder:
    """A valid key's caller and its limits."""

    caller: Caller
    limits: tuple[SpendingLimit, ...] = ()


def issue(store: Store, tenant: str, role: str = "developer", scope: Scope = Scope(), expires: float | None = None,
          note: str = "") -> tuple[str, StoredKey]:  # fmt: skip
    """A new key, shown only now, and what is kept of it. ``expires`` is a time in Unix seconds. Raises InputError."""
    if not _TENANT.fullmatch(tenant):
        raise InputError(
            f"got tenant {tenant!r}, expected a word of at most 80 letters, digits and . @ + -",
            remedy="rung keys new --tenant NAME",
        )
    if role not in ROLES:
        raise InputError(f"there is no role {role!r}", remedy=f"roles: {', '.join(ROLES)}")
    made, stored = _make(StoredKey("", "", tenant, role, scope.text(), note, "", time.time(), expires, None))
    store.keys.put(stored)
    return made, stored


def rotate(store: Store, key: StoredKey, overlap: float) -> tuple[str, StoredKey]:
    """A key in the place of another, with its tenant, role and scope; the old one goes on for ``overlap`` seconds."""
    now = time.time()
    made, stored = _make(replace(key, replaces=key.id, created=now, revoked=None))
    if not key.valid(now) or not store.keys.replace(stored, now + overlap):
        raise InputError(
            f"the key {key.id} is not valid any more", remedy=f"make a new one: rung keys new --tenant {key.tenant}"
        )
    return made, stored


def _make(like: StoredKey) -> tuple[str, StoredKey]:
    """A new key, and what is kept of it."""
    id = secrets.token_hex(6)
    key = f"rung_{id}_{secrets.token_urlsafe(32)}"
    return key, replace(like, id=id, hash=hash_key(key))


def limits_of(given: Mapping[str, Sequence[str]]) -> tuple[SpendingLimit, ...]:
    """Limits by unit as they are written. Raises InputError."""
    return tuple(
        read_limit(unit, text, DEFAULT_PERIOD[unit]) for unit, texts in given.items() for text in texts if str(text)
    )


class Keyring:
    """Looks up the keys that callers send."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store, self.clock = store, clock
        self._known: OrderedDict[str, tuple[float, StoredKey | None]] = OrderedDict()
        self._asked: dict[str, asyncio.Task[StoredKey | None]] = {}
        self._holders: dict[str, Holder] = {}
        self._lately: dict[str, tuple[float, Holder]] = {}

    async def find(self, key: str) -> Holder | None:
        """Whose key it is; None: nobody's, or not any more. Raises RungError when the store is in trouble."""
        hashed = hash_key(key)
        if (lately := self._lately.get(hashed)) is not None and 0 <= self.clock() - lately[0] < AGE:
            return lately[1]
        shape = _KEY.fullmatch(key)
        if shape is None:
            return None
        id, now = shape[1], self.clock()
        known = self._known.get(id)
        if known is None or not 0 <= now - known[0] < AGE:
            stored = await self._look(id, now)
        else:
            stored = known[1]
        if stored is None or not hmac.compare_digest(hashed, stored.hash) or not stored.valid(now):
            return None
        if len(self._lately) >= KNOWN:
            self._lately.clear()
        # It was valid when it was looked up, and a second from then on.
        self._lately[hashed] = (self._known[id][0], found := self._holder(stored))
        return found

    async def holder(self, id: str) -> Holder | None:
        """Whose key has this id; None where it is not valid any more."""
        now = self.clock()
        stored = await self._look(id, now)
        return self._holder(stored) if stored is not None and stored.valid(now) else None

    def _holder(self, stored: StoredKey) -> Holder:
        id = stored.id
        holder = self._holders.get(id)
        if holder is None:
            scope = Scope.read(stored.scope)
            holder = Holder(Caller(stored.tenant, id, stored.role, scope.models), scope.limits)
            self._holders[id] = holder
        return holder

    async def _look(self, id: str, now: float) -> StoredKey | None:
        task = self._asked.get(id)
        if task is None:  # a hundred requests at once ask once
            task = self._asked[id] = asyncio.create_task(asyncio.to_thread(self.store.keys.get, id))
            task.add_done_callback(lambda _: self._asked.pop(id, None))
        try:
            stored = await asyncio.shield(task)
        except RungError as error:
            old = self._known.get(id)
            if old is None or old[1] is None or not 0 <= now - old[0] <= 60:
                raise
            logger.error("keys cannot be looked up: %s", error.message)
            return old[1]  # a store in trouble for a moment does not lock everybody out
        self._known[id] = (now, stored)
        self._known.move_to_end(id)
        while len(self._known) > KNOWN:
            gone, _ = self._known.popitem(last=False)
            self._holders.pop(gone, None)
        return stored
