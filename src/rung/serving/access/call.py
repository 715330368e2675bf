"""What is known of the request at hand: who asks, what was set aside for it, and which way it went."""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rung.core.types import Usage

if TYPE_CHECKING:
    from rung.serving.access.budget import Purse


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a tenant, the id of its key (never the key), what the key may do and ask. ``models`` empty: every
    one."""

    tenant: str = ""
    key: str = ""
    role: str = "developer"
    models: tuple[str, ...] = ()

    def may_ask(self, model: str) -> bool:
        return not self.models or any(
            model == known or (known.endswith("*") and model.startswith(known[:-1])) for known in self.models
        )


NOBODY = Caller()


@dataclass(slots=True)
class RequestCall:
    """A request on its way. The wrappers around endpoints write down here what the reply's headers say.

    ``served_by`` is the endpoint that answered, ``degraded`` why it was not the first choice (empty: it was), ``cache``
    is "hit" for a kept answer and "miss" where one was looked for; ``saved`` is what the kept answer had cost.
    ``tries`` says which endpoints failed before, and how. ``trace`` names its span, where spans are made: trace,
    parent, own.
    """

    caller: Caller = NOBODY
    purse: Purse | None = None
    subject: str = ""
    served_by: str = ""
    degraded: str = ""
    cache: str = ""
    saved: Usage | None = None
    tries: list[str] = field(default_factory=list)
    trace: tuple[str, str, str] | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the reply says of the way it went."""
        said = (
            (b"x-rung-served-by", self.served_by),
            (b"x-rung-degraded", self.degraded),
            (b"x-rung-cache", self.cache),
            (b"x-rung-tried", "; ".join(self.tries)),
            (b"x-rung-saved-tokens", str(self.saved.tokens) if self.saved is not None else ""),
        )
        return [(name, value.encode("ascii", "backslashreplace")) for name, value in said if value]


_random = b""


def new_id(prefix: str, size: int = 12) -> str:
    """``prefix`` and random hexadecimal digits of ``size`` bytes. The system is asked for many at once."""
    global _random
    if len(_random) < size:
        _random = os.urandom(4096)
    taken, _random = _random[:size], _random[size:]
    return prefix + taken.hex()


_call: ContextVar[RequestCall | None] = ContextVar("rung_call", default=None)


def current() -> RequestCall:
    """The call at hand; outside of a server one that nobody reads."""
    return _call.get() or RequestCall()


def enter(call: RequestCall) -> None:
    """Make ``call`` the one at hand in this task and those that it starts."""
    _call.set(call)
