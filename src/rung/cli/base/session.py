"""What most verbs need while they work: models by name, the store, and a loop to wait in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rung.core.settings import Settings
from rung.models import Pool
from rung.store import Store, open_store

T = TypeVar("T")


def run(settings: Settings, work: Callable[[Pool, Store], Awaitable[T]], *, model: str | None = None) -> T:
    """Open the pool (``model``: its default one) and the store, wait for the work, and close both."""

    async def whole() -> T:
        async with Pool(settings, default=model) as pool:
            with open_store(settings.store_url) as store:
                return await work(pool, store)

    return asyncio.run(whole())
