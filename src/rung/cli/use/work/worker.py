"""``rung worker``: answer what comes through a queue of RabbitMQ or a topic of Kafka."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass

import typer

from rung.cli.base.options import StoreUrl
from rung.core.parts.option import argument, option


@dataclass(frozen=True)
class WorkerOptions:
    """Which queue, who answers, and how much at once."""

    queue: str = argument("The queue (RabbitMQ) or topic (Kafka) that questions come through.", "QUEUE")
    target: str = argument("Who answers: a program folder, or an agent file.", "TARGET")
    broker: str = option(
        "", "The broker: amqp://HOST or kafka://HOST:PORT (default: the setting broker).", metavar="URL"
    )
    to: str = option("", "Where answers go (default: QUEUE.answers; a message's own reply_to wins).", metavar="QUEUE")
    dead: str = option("", "Where what cannot be answered goes (default: QUEUE.dead).", metavar="QUEUE")
    running: int = option(16, "Messages in hand at once; no more are taken (the prefetch).", low=1, high=1024)
    tries: int = option(3, "How often a model that fails is asked.", low=1, high=100)
    deliveries: int = option(5, "How often a message may come before it counts as what kills the worker.", low=1)
    deadline: float = option(120.0, "Seconds that an answer may take.", low=0.1)
    body: int = option(2**20, "Bytes of a message at most.", low=16)
    subjects: bool = option(
        False,
        "Keep with each answer a keyed hash of the message's `user`, so that all of somebody can be found by: rung forget.",
        flags=("--subjects",),
    )
    group: str = option("rung", "The consumer group (Kafka).", metavar="NAME")
    reset: str = option(
        "", "Where to go on when the group's place is gone: earliest or latest (Kafka).", metavar="PLACE"
    )
    most: int | None = option(None, "End after so many messages.", low=1)
    idle: float | None = option(None, "End when none has come for so many seconds.", low=0.1)


def worker(options: WorkerOptions, store: StoreUrl = None) -> None:
    """Answer messages of a queue, each once, also over kill -9; ends on SIGTERM with what is in hand answered.

    A message is JSON: a text, an object of the program's fields, {"id": ..., "input": ...}, or a chat request's body.
    """
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.serving.endpoints.local import open_any
    from rung.serving.http.process.worker import say_ready, watch_parent
    from rung.serving.observe.log import start_log
    from rung.serving.work.queue.broker import QueueAddress, open_broker
    from rung.serving.work.queue.worker import QueueWorker, WorkerLimits, WorkerReport
    from rung.store import open_store

    watch_parent()
    start_log("text")
    settings = Settings({"store": store, "broker": options.broker or None})
    if not settings["broker"]:
        raise InputError(
            "no broker is named",
            remedy="type --broker amqp://HOST or kafka://HOST:PORT, or set RUNG_BROKER",
            code="no-broker",
        )
    if options.reset not in ("", "earliest", "latest"):
        raise InputError(f"got --reset {options.reset!r}", remedy="expected earliest or latest", code="reset")
    address = QueueAddress(settings["broker"], options.queue, options.to, options.dead)
    limits = WorkerLimits(options.running, options.tries, options.deliveries, options.deadline, options.body)

    async def work() -> WorkerReport:
        async with Pool(settings) as pool:
            with open_store(settings.store_url) as kept:
                broker = open_broker(
                    address, running=limits.running, deadline=limits.deadline, group=options.group, reset=options.reset
                )
                opened = open_any(options.target, pool)
                job = QueueWorker(
                    broker, opened, kept, f"worker:{address.name}", limits, lambda line: typer.echo(line, err=True)
                )
                if options.subjects:
                    job.subject = kept.subjects.mark
                for one in (signal.SIGTERM, signal.SIGINT):
                    asyncio.get_running_loop().add_signal_handler(one, job.stop)
                typer.echo(
                    f"{opened.name} answers {address.name}; answers: {address.to}, dead letters: {address.grave}",
                    err=True,
                )
                try:
                    return await job.run(most=options.most, idle=options.idle, ready=say_ready)
                finally:
                    await broker.close()

    typer.echo(str(asyncio.run(work())))
