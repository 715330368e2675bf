"""A gateway from a text, served on a loopback socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rung.core.settings import Settings
from rung.models import Pool
from rung.serving.access.keys import Keys
from rung.serving.gateway.build import Gateway
from rung.serving.gateway.plan import ServePlan
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.run import make_door
from rung.serving.http.process.server import address, listen, running
from rung.serving.observe.metrics import Metrics
from rung.store import open_store


@asynccontextmanager
async def gateway(folder: Path, text: str) -> AsyncIterator[tuple[str, Gateway]]:
    """The base URL and the open gateway of a file with this text."""
    file = folder / "gateway.yaml"
    file.write_text(text)
    store_url = f"sqlite:///{folder / 'rung.db'}"
    async with Pool(Settings({"store": store_url})) as pool:
        with open_store(store_url) as store:
            opened = Gateway(file, pool, store)
            opened.read()
            door = make_door(Keys(), store, opened.spec, ServePlan())
            bound = listen("127.0.0.1", 0)
            served = Served(list(opened.chains.values()), limits=Limits(grace=1), door=door, metrics=Metrics())
            try:
                async with running(make_app(served, warm_up=False), bound):
                    yield address(bound), opened
            finally:
                await opened.connections.close()
