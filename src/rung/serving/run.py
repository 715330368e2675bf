"""What ``rung serve`` does: open the programs, check them over HTTP where asked, listen, drain."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.metrics import load_metric
from rung.models import Pool
from rung.retrieval.collection.folders import find
from rung.retrieval.collection.shared import Collections
from rung.serving.ab import ABTest, Shares
from rung.serving.app import make_app
from rung.serving.client import Remote
from rung.serving.endpoint import Endpoint, ModelEndpoint, ProgramEndpoint
from rung.serving.keys import Keys, read_keys
from rung.serving.limits import Limits
from rung.serving.local import Opened, open_folder
from rung.serving.parity import Parity, check, refuse
from rung.serving.record import Recorder
from rung.serving.server import Server, address, listen, running
from rung.store import Store, open_store


@dataclass(frozen=True, slots=True)
class Plan:
    """What to serve and how. ``folders`` are ``DIR`` or ``NAME=DIR``; ``adapters`` (NAME=DIR) stand beside each of ``models``,
    as model ``MODEL@NAME``; ``search`` names collections; ``shares`` is an A/B test between two of what is served; ``record`` keeps
    requests and answers in the store, for ``record_days``."""

    folders: tuple[str, ...]
    models: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    raw: bool = False
    host: str | None = None
    port: int | None = None
    key_file: Path | None = None
    check: bool = False
    details: bool = True
    limits: Limits = Limits()
    store: str | None = None
    shares: Shares | None = None
    record: bool = False
    record_days: int | None = None


def run_server(plan: Plan, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain. Raises InputError before anything listens, ParityError from ``check``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for quiet in ("uvicorn", "alembic"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    settings = Settings({"host": plan.host, "port": plan.port, "store": plan.store})
    keys = read_keys(plan.key_file)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(plan, settings, keys, say))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(plan: Plan, settings: Settings, keys: Keys, say: Callable[[str], None]) -> None:
    bound = listen(settings["host"], settings["port"], keys)
    pool = Pool(settings)
    shelf: Collections | None = None
    store: Store | None = None
    try:
        if plan.search:
            shelf = Collections({name: find(name, settings.home) for name in plan.search}, pool)
        opened = [open_folder(folder, pool, name=name) for name, folder in map(_named, plan.folders)]
        endpoints = make_endpoints(opened, plan, pool)
        ab_tests = []
        recorder = None
        if plan.shares is not None or plan.record:
            store = open_store(settings.store_url)
        if store is not None and plan.shares is not None:
            ab_tests.append(ABTest(plan.shares, endpoints, store))
        if store is not None and plan.record:
            recorder = Recorder(store, plan.record_days)
        app = make_app(endpoints, keys=keys, limits=plan.limits, indexes=shelf, ab_tests=ab_tests, recorder=recorder)
        if plan.check:
            for parity in await check_served(opened, endpoints, settings, pool, plan.limits):
                say(str(parity))
        for one in opened:
            if not one.intact:
                say(
                    f"rung/{one.name} is not what was saved: its program.json was edited, or its model is another one now"
                )
            elif one.verified is False and not plan.check:
                say(f"rung/{one.name} is unverified: it was exported without the parity check (rung serve --check)")
        for endpoint in endpoints:
            say(f"  {endpoint.id}")
        for split in ab_tests:
            parts = ", ".join(f"{share:.0%} {arm}" for arm, share in split.shares.arms)
            say(f"  {split.id}: {parts}" + (f"; rolled back: {split.stopped}" if split.stopped else ""))
        for name in plan.search:
            say(f"  index {name}")
        if plan.search:
            say(f"search page: {address(bound).removesuffix('/v1')}/search")
        if recorder is not None:
            kept = (
                f"deleted after {recorder.days} days"
                if recorder.days is not None
                else "kept until a server with --record-days deletes them"
            )
            say(
                f"RECORDING what is asked and answered, in {recorder.store.url}, {kept}; never keys, headers, or who asked "
                "(personal data in the texts is kept as it is: tell your callers)"
            )
        say(f"serving at {address(bound)}" + ("" if keys else " (this machine only, no API key)"))
        server = Server(app, plan.limits)
        await server.serve(sockets=[bound])
        say("stopped")
    finally:
        bound.close()
        if shelf is not None:
            shelf.close()
        if store is not None:
            store.close()
        await pool.close()


def make_endpoints(opened: Sequence[Opened], plan: Plan, pool: Pool) -> list[Endpoint]:
    """The programs, then the bare models that were asked for, each once."""
    endpoints: list[Endpoint] = [
        ProgramEndpoint(one, int((one.folder / "program.json").stat().st_mtime), plan.details) for one in opened
    ]
    bare = {one.program.model.name: one.program.model for one in opened if one.program.model is not None}
    chosen = dict(bare) if plan.raw else {}
    for name in plan.models:
        chosen[name] = pool.model(name)
    if plan.raw and not chosen:
        raise InputError("--raw: none of the programs has a language model", remedy="leave --raw out")
    now = int(time.time())
    endpoints.extend(ModelEndpoint(model, now) for model in chosen.values())
    if plan.adapters and not plan.models:
        raise InputError(
            "an adapter needs a base", remedy="name it: rung serve -m openvino:smollm2-135m --adapter NAME=DIR"
        )
    for base in plan.models:
        for given in plan.adapters:
            name, equals, folder = given.partition("=")
            if not equals or not name or "@" in name:
                raise InputError(
                    f"got --adapter {given}, expected NAME=DIR", remedy="for example: --adapter support=tuned"
                )
            endpoints.append(ModelEndpoint(pool.model(f"{base}@{folder}"), now, f"{base}@{name}"))
    return endpoints


def _named(given: str) -> tuple[str, Path]:
    name, equals, folder = given.partition("=")
    return (name, Path(folder)) if equals and not Path(given).exists() else ("", Path(given))


async def check_served(
    opened: Sequence[Opened], endpoints: Sequence[Endpoint], settings: Settings, pool: Pool, limits: Limits
) -> list[Parity]:
    """Score each program over HTTP, on a private socket, on the test examples of the run that it was exported from.

    Raises ParityError for the first that scores otherwise, InputError when its run is not in the store.
    """
    from rung.ladder.history import read_results, read_run

    full = [
        replace(endpoint, detail=True) if isinstance(endpoint, ProgramEndpoint) else endpoint for endpoint in endpoints
    ]
    bound = listen("127.0.0.1", 0, Keys())
    verdicts = []
    async with running(make_app(full, limits=limits, warm_up=False, log=False), bound, limits):
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
                    parity = await check(original, remote, metric, where=f"rung/{one.name} over HTTP", concurrency=32)
                refuse(parity, remedy=f"export it again: rung export {run} {rung} DIR")
                verdicts.append(parity)
    return verdicts
