"""How long an endpoint may be silent: before anything comes of a stream, between its pieces, and for a whole answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.endpoint import ChatChoice, Piece


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: ``first`` until the first piece of a stream, ``between`` two pieces, ``whole`` for an answer in one piece."""

    first: float = 30.0
    between: float = 30.0
    whole: float = 120.0


async def timed(
    events: AsyncGenerator[Piece | ChatChoice], limits: Timeouts, *, live: bool
) -> AsyncGenerator[Piece | ChatChoice]:
    """The events of an answer. Raises Refused (504) when one does not come in its time."""
    limit, what = (limits.first, "nothing") if live else (limits.whole, "no whole answer")
    loop = asyncio.get_running_loop()
    async with aclosing(events):
        while True:
            try:
                async with asyncio.timeout_at(loop.time() + limit):
                    event = await anext(events)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Refused(504, f"the model gave {what} within {limit:g} s", code="model_timeout") from None
            yield event
            if live:
                limit, what = limits.between, "nothing more"
