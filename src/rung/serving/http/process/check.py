"""``rung serve --check``: every program is scored over HTTP before anybody is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.metrics import load_metric
from rung.models import Pool
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.endpoints.local import Opened
from rung.serving.endpoints.program import ProgramEndpoint
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen, running
from rung.serving.quality.client import Remote
from rung.serving.quality.parity import ParityTerms, ParityVerdict, check, refuse
from rung.store import open_store


async def check_served(
    opened: Sequence[Opened], endpoints: Sequence[Endpoint], settings: Settings, pool: Pool, limits: Limits
) -> list[ParityVerdict]:
    """Score each program over HTTP, on a private socket, on the test examples of the run that it was exported from.

    Raises ParityError for the first that scores otherwise, InputError when its run is not in the store.
    """
    from rung.ladder.history import read_results, read_run

    full = [
        replace(endpoint, detail=True) if isinstance(endpoint, ProgramEndpoint) else endpoint for endpoint in endpoints
    ]
    bound = listen("127.0.0.1", 0)
    verdicts = []
    async with running(make_app(Served(full, limits=limits), warm_up=False, log=False), bound, limits):
        with open_store(settings.store_url) as store:
            for one in opened:
                run, rung = one.notes.get("run"), one.notes.get("rung")
                if not run or not rung:
                    raise InputError(
                        f"{one.folder} does not say which run it comes from, so there is nothing to compare with",
                        remedy="make it with: rung export RUN DIR",
                    )
                record = read_run(store, run)
                metric = load_metric(record.metrics[0], pool)
                original = await read_results(store, record, rung, pool, [record.metrics[0]], what="serve")
                async with Remote(address(bound), f"rung/{one.name}") as remote:
                    parity = await check(
                        original, remote, metric, ParityTerms(f"rung/{one.name} over HTTP"), concurrency=32
                    )
                refuse(parity, remedy=f"export it again: rung export {run} {rung} DIR")
                verdicts.append(parity)
    return verdicts
