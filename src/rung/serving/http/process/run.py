"""What ``rung serve`` does: open the programs, check them over HTTP where asked, listen, drain."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.errors import InputError, RungError
from rung.core.settings import Settings
from rung.core.system.files import under
from rung.models import Pool
from rung.models.providers.access import check_url
from rung.serving.access.budget import Budgets
from rung.serving.access.door import Door
from rung.serving.access.issue import Keyring
from rung.serving.access.keys import Keys, read_keys
from rung.serving.access.release import refuse_stale, refuse_unapproved
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.endpoints.local import Opened, open_folder
from rung.serving.endpoints.model import ModelEndpoint
from rung.serving.endpoints.program import EPISODES, ProgramEndpoint, trail_of
from rung.serving.gateway.build import Gateway, adapter_of
from rung.serving.gateway.chain import Chain
from rung.serving.gateway.config import GatewaySpec, read_gateway
from rung.serving.gateway.plan import ServePlan
from rung.serving.http.app import Served, make_app
from rung.serving.http.chat import Offer
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import Server, address, listen, take_over
from rung.serving.http.process.supervisor import Supervisor, command_again
from rung.serving.http.process.worker import PARENT, tell_ready, watch_parent
from rung.serving.observe.drift import DriftWatch
from rung.serving.observe.log import start_log
from rung.serving.observe.metrics import Metrics
from rung.serving.quality.ab import ABTest
from rung.serving.quality.people.moderation import Moderation
from rung.serving.quality.people.style import PersonalStyles
from rung.serving.quality.people.survey import AnswerSurvey
from rung.serving.quality.record import Recorder
from rung.store import Store, open_store

if TYPE_CHECKING:
    from rung.retrieval.collection.shared import Collections

logger = logging.getLogger("rung.serving")

SWITCH = 0.0003
"""Seconds for which a thread may keep the interpreter from the event loop (Python's own 5 ms are added to a request
whenever the store is written meanwhile)."""


def run_server(plan: ServePlan, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain. Raises InputError before anything listens, ParityError from
    ``check``."""
    start_log(plan.log)
    watch_parent()
    settings = Settings({"host": plan.host, "port": plan.port, "store": plan.store})
    keys = read_keys(plan.key_file)
    if plan.workers > 1:
        _supervise(plan, settings, keys, say)
        return
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(plan, settings, keys, say))


def _supervise(plan: ServePlan, settings: Settings, keys: Keys, say: Callable[[str], None]) -> None:
    """Bind, and leave the rest to ``plan.workers`` processes with the same command line."""
    locked = bool(keys) or plan.issued_keys or (plan.config is not None and read_gateway(plan.config).keys == "issued")
    with (
        take_over(plan.fd)
        if plan.fd is not None
        else listen(settings["host"], settings["port"], locked=locked) as bound
    ):
        say(f"serving at {address(bound)} by {plan.workers} workers")
        Supervisor(command_again(sys.argv[1:]), bound, plan.workers, plan.limits.grace, say).run()
    say("stopped")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(plan: ServePlan, settings: Settings, keys: Keys, say: Callable[[str], None]) -> None:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(Pool(settings))
        store = stack.enter_context(open_store(settings.store_url)) if plan.stores else None
        ledger = functools.cache(lambda: store or stack.enter_context(open_store(settings.store_url)))
        admit = functools.partial(_refuse, plan.release, plan.accept_stale, ledger)
        gateway = None
        if plan.config is not None:
            gateway = Gateway(plan.config, pool, store, admit)
            gateway.read()
            stack.push_async_callback(gateway.connections.close)
            plan = _with_spec(plan, gateway.spec)
        admit(_folders(plan))
        door = make_door(keys, store, gateway.spec if gateway is not None else None, plan)
        bound = (
            take_over(plan.fd)
            if plan.fd is not None
            else listen(settings["host"], settings["port"], locked=door.locked)
        )
        stack.callback(bound.close)
        indexes = _collections(plan, settings, pool)
        if indexes is not None:
            stack.callback(indexes.close)
        opened = [open_folder(folder, pool, name=name) for name, folder in map(_named, plan.folders)]
        if store is None and any(one.program.kind in EPISODES for one in opened):
            store = stack.enter_context(open_store(settings.store_url))
        endpoints = make_endpoints(opened, plan, pool, store)
        if gateway is not None:
            endpoints += gateway.chains.values()
        ab_tests, recorder = [], None
        if store is not None and plan.shares is not None:
            ab_tests.append(ABTest(plan.shares, endpoints, store))
        if store is not None and plan.records:
            recorder = Recorder(store, plan.record_days)
        metrics = Metrics() if plan.metrics else None
        served = Served(endpoints, keys, plan.limits, indexes, ab_tests, recorder, door, metrics)
        embedders = {name: name for name in plan.embedder} | (gateway.spec.embedders if gateway is not None else {})
        served = replace(served, embedders={id: pool.embedder(name) for id, name in embedders.items()})
        served = _with_people(_with_plan(served, plan, store), plan, store, gateway, pool)
        app = make_app(served)
        if plan.check:
            from rung.serving.http.process.check import check_served

            for parity in await check_served(opened, endpoints, settings, pool, plan.limits):
                say(str(parity))
        for line in _announce(served, opened, plan, address(bound)) if PARENT not in os.environ else ():
            say(line)
        if gateway is not None:
            _read_again_on_signal(gateway, app.rung.offer, [one for one in endpoints if not isinstance(one, Chain)])
        _settle_memory()
        server = Server(app, plan.limits)
        telling = asyncio.create_task(tell_ready(server, app.rung))
        stack.callback(telling.cancel)
        await server.serve(sockets=[bound])
        if PARENT not in os.environ:
            say("stopped")


def _settle_memory() -> None:
    """What is there before the first request stays: the collector need not look through it again and again. Requests
    leave next to no circles behind."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    sys.setswitchinterval(SWITCH)


def _collections(plan: ServePlan, settings: Settings, pool: Pool) -> Collections | None:
    if not plan.search:
        return None
    from rung.retrieval.collection.folders import find
    from rung.retrieval.collection.shared import Collections

    return Collections({name: find(name, settings.home) for name in plan.search}, pool)


def _with_plan(served: Served, plan: ServePlan, store: Store | None) -> Served:
    """What is served, with what else the plan asks for. Raises InputError for what cannot be."""
    if plan.survey is not None and not plan.records:
        raise InputError(
            "--survey: its answers stand with recorded answers, and none are recorded", remedy="add --record"
        )
    spans = None
    if plan.otlp is not None:
        from rung.serving.observe.spans import Spans

        spans = Spans(check_url(plan.otlp), plan.content)
    return replace(
        served,
        spans=spans,
        content=plan.content,
        mcp=plan.mcp,
        graphql=plan.graphql,
        survey=AnswerSurvey(plan.survey, plan.question) if plan.survey is not None else None,
        store=store if plan.batches or plan.graphql or plan.config is not None else None,
        subject=store.subjects.mark if store is not None and plan.subjects else served.subject,
    )


def _with_people(served: Served, plan: ServePlan, store: Store | None, gateway: Gateway | None, pool: Pool) -> Served:
    """What is served, moderated, in each person's style and watched for drift where the plan asks for it. Raises
    InputError for what cannot be."""
    if (plan.styles is not None and not (plan.records and plan.subjects)) or (
        plan.drift is not None and not plan.records
    ):
        what, needed = ("--drift", "--record") if plan.drift is not None else ("--styles", "--record --subjects")
        raise InputError(f"{what} looks at what was recorded, and that is not kept", remedy=f"add {needed}")
    if plan.job is not None and plan.drift is None:
        raise InputError("--job is what --drift writes", remedy="add --drift FILE")
    moderation, styles, drift = gateway.moderation if gateway is not None else None, None, None
    if store is not None and plan.moderate is not None:
        moderation = Moderation.open(plan.moderate, store)
    if store is not None and plan.styles is not None:
        styles = PersonalStyles.open(plan.styles, store)
    if store is not None and plan.drift is not None:
        drift = DriftWatch.open(plan.drift, pool, store, plan.job)
    return replace(served, moderation=moderation, styles=styles, drift=drift)


def _refuse(release: Path | None, stale: bool, ledger: Callable[[], Store], folders: Sequence[Path]) -> None:
    """Raise InputError where one of the folders may not be served."""
    if not stale:
        refuse_stale(folders)
    refuse_unapproved(folders, release, ledger)


def _folders(plan: ServePlan) -> list[Path]:
    """The folders of programs and adapters that are to be served, but for a gateway's."""
    found = [folder for _, folder in map(_named, plan.folders)]
    found += [Path(given.partition("=")[2]) for given in plan.adapter]
    return [*found, *filter(None, map(adapter_of, plan.model))]


def make_door(keys: Keys, store: Store | None, spec: GatewaySpec | None, plan: ServePlan) -> Door:
    """The door of a server: whose keys are asked for, and what they are limited to."""
    issued = plan.issued_keys or (spec is not None and spec.keys == "issued")
    tenants = {name: tenant.limits() for name, tenant in spec.tenants.items()} if spec is not None else {}
    if store is None or not (issued or tenants):
        return Door(keys)
    return Door(keys, Keyring(store) if issued else None, Budgets(store), tenants)


def _with_spec(plan: ServePlan, spec: GatewaySpec) -> ServePlan:
    """The plan with what the gateway's file says."""
    given = spec.limits
    limits = Limits(given.body, given.characters, given.running, given.waiting, given.deadline, given.grace)
    return replace(
        plan,
        limits=plan.limits if plan.limits != Limits() else limits,
        record_days=plan.record_days or spec.record,
        subjects=plan.subjects or spec.subjects,
        search=tuple(dict.fromkeys([*plan.search, *spec.search])),
        styles=plan.styles or (under(plan.config.parent, str(spec.styles)) if plan.config and spec.styles else None),
    )


def _read_again_on_signal(gateway: Gateway, offer: Offer, others: Sequence[Endpoint]) -> None:
    """On SIGHUP the gateway's file is read again; a mistake in it is told and changes nothing."""

    def again() -> None:
        try:
            chains = gateway.read()
            found = Offer(tests=offer.tests)
            for id, one in [(one.id, one) for one in others] + list(chains.items()):
                found.add({id: one})
        except RungError as error:
            logger.error("the gateway stays as it was: %s", error.message)
            return
        offer.endpoints = found.endpoints
        if gateway.spec.moderation is not None:
            offer.moderation = gateway.moderation
        logger.info("read %s again: %s", gateway.file, ", ".join(chains))

    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, again)


def _announce(served: Served, opened: Sequence[Opened], plan: ServePlan, url: str) -> Iterator[str]:
    """What a server says of itself before it serves."""
    for one in opened:
        if not one.intact:
            yield f"rung/{one.name} is not what was saved: its program.json was edited, or its model is another one now"
        elif one.verified is False and not plan.check:
            yield f"rung/{one.name} is unverified: it was exported without the parity check (rung serve --check)"
    for endpoint in served.endpoints:
        yield f"  {endpoint.id}"
    for test in served.ab_tests:
        parts = ", ".join(f"{share:.0%} {arm}" for arm, share in test.shares.arms)
        yield f"  {test.id}: {parts}" + (f"; rolled back: {test.stopped}" if test.stopped else "")
    for name in plan.search:
        yield f"  index {name}"
    if plan.search:
        yield f"search page: {url.removesuffix('/v1')}/search"
    if served.recorder is not None:
        days = served.recorder.days
        kept = f"deleted after {days} days" if days else "kept until a server with --record-days deletes them"
        yield (
            f"RECORDING what is asked and answered, in {served.recorder.store.url}, {kept}; never keys, headers, or who asked "
            "(personal data in the texts is kept as it is: tell your callers)"
        )
    if served.moderation is not None:
        what = [name for name in ("requests", "answers") if getattr(served.moderation, name)]
        yield (
            f"MODERATING {' and '.join(what) or 'nothing'} by policy {served.moderation.moderator.key}; texts that it "
            f"blocks or is unsure of are kept in {served.moderation.store.url}: rung moderate queue"
        )
    if served.drift is not None:
        alpha = served.drift.monitor.alpha
        yield f"watching what is asked for drift (a false alarm with probability {alpha:g} at most); an alarm is in this log"
    if served.endpoints:
        yield f"chat page: {url.removesuffix('/v1')}/chat"
    yield f"serving at {url}" + (
        "" if served.door is not None and served.door.locked else " (this machine only, no API key)"
    )


def make_endpoints(opened: Sequence[Opened], plan: ServePlan, pool: Pool, store: Store | None = None) -> list[Endpoint]:
    """The programs, then the bare models that were asked for, each once. Episodes of agents are kept in ``store``."""
    endpoints: list[Endpoint] = []
    for one in opened:
        made = int((one.folder / "program.json").stat().st_mtime)
        kept = trail_of(one, store)
        endpoints.append(ProgramEndpoint(one, made, plan.details, plan.limits.characters, trail=kept))
    bare = {one.program.model.name: one.program.model for one in opened if one.program.model is not None}
    chosen = dict(bare) if plan.raw else {}
    for name in plan.model:
        chosen[name] = pool.model(name)
    if plan.raw and not chosen:
        raise InputError("--raw: none of the programs has a language model", remedy="leave --raw out")
    now = int(time.time())
    endpoints.extend(ModelEndpoint(model, now) for model in chosen.values())
    if plan.adapter and not plan.model:
        raise InputError(
            "an adapter needs a base", remedy="name it: rung serve -m openvino:smollm2-135m --adapter NAME=DIR"
        )
    for base in plan.model:
        for given in plan.adapter:
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
