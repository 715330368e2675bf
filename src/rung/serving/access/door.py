"""The door of a server: from what a request carries to who asks and what it may use."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rung.core.errors import RungError
from rung.serving.access.budget import Budgets, Purse
from rung.serving.access.call import NOBODY, Caller, RequestCall
from rung.serving.access.issue import Keyring
from rung.serving.access.keys import Keys, hash_key
from rung.serving.access.limit import SpendingLimit
from rung.serving.access.roles import Verb, may, verb_of
from rung.serving.apis.wire.refused import Refused

logger = logging.getLogger("rung.serving")

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

OPEN = frozenset({"/health", "/search", "/chat"})
"""What needs no key: whether the process answers, and pages that hold nothing until they are given a key."""

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Door:
    """``keys`` are those of a file, ``ring`` those that were issued; without both only callers on this machine are let
    in.

    ``tenants`` are the limits of tenants, beside those of their keys.
    """

    keys: Keys = Keys()
    ring: Keyring | None = None
    budgets: Budgets | None = None
    tenants: Mapping[str, Sequence[SpendingLimit]] = field(default_factory=dict)

    @property
    def locked(self) -> bool:
        return bool(self.keys) or self.ring is not None

    async def admit(self, path: str, headers: Headers) -> RequestCall:
        """The call of whoever sends this. Raises Refused (401, 403, 503)."""
        if not self.locked:
            _check_host(headers)
            return RequestCall(purse=self._purse(NOBODY, ()))
        if path in OPEN:
            return RequestCall()
        key = _key(headers)
        caller, limits = await self._who(key)
        verb: Verb = verb_of(path)
        if not may(caller.role, verb):
            said = f"the role {caller.role} may not {verb} here"
            raise Refused(403, said, code="role", again=False)
        return RequestCall(caller, self._purse(caller, limits))

    async def call_for(self, tenant: str, key: str) -> RequestCall:
        """A call of a tenant's key that is made later, by a batch. Raises Refused when the key is not valid any
        more."""
        if self.ring is None or not tenant:
            caller = Caller(tenant, key)
            return RequestCall(caller, self._purse(caller, ()))
        holder = await self.ring.holder(key)
        if holder is None:
            raise Refused(401, "the key of this batch is not valid any more", code="invalid_api_key", again=False)
        return RequestCall(holder.caller, self._purse(holder.caller, holder.limits))

    async def _who(self, key: str) -> tuple[Caller, Sequence[SpendingLimit]]:
        if key and self.keys.admit(key):
            return Caller(key=hash_key(key)[:12]), ()
        if key and self.ring is not None:
            try:
                holder = await self.ring.find(key)
            except RungError as error:
                logger.error("keys cannot be looked up: %s", error.message)
                raise Refused(503, "the store is in trouble", code="store", retry_after=5) from None
            if holder is not None:
                return holder.caller, holder.limits
        said = "wrong API key" if key else "no API key; send it as: Authorization: Bearer KEY"
        raise Refused(401, said, code="invalid_api_key", again=False)

    def _purse(self, caller: Caller, limits: Sequence[SpendingLimit]) -> Purse | None:
        if self.budgets is None:
            return None
        theirs = self.tenants.get(caller.tenant, self.tenants.get("*", ()))
        return self.budgets.purse(caller.tenant, caller.key, theirs, limits)


def _key(headers: Headers) -> str:
    """The key that was sent. Raises Refused for two."""
    found = []
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                found.append(key.strip())
        elif name == b"x-api-key":
            found.append(value.decode("latin-1").strip())
    if len(set(found)) > 1:
        raise Refused(400, "got more than one API key; send one", code="invalid_api_key", again=False)
    return found[0] if found else ""


def _check_host(headers: Headers) -> None:
    """Without keys a web page must not reach the server through a name of its own (DNS rebinding)."""
    found = {name: value for name, value in headers if name in (b"host", b"origin")}
    host = _hostname("//" + found.get(b"host", b"").decode("latin-1"))
    origin = found.get(b"origin")
    if host not in LOOPBACK or (origin is not None and _hostname(origin.decode("latin-1")) not in LOOPBACK):
        said = "this server has no API keys and answers only callers on its own machine, by the name localhost"
        raise Refused(403, said, code="foreign_host", again=False)


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
