"""``rung stream``: windows over rows that never end."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rung.cli.base.options import assigned
from rung.core.parts.option import argument, option

if TYPE_CHECKING:
    from rung.core.settings import Settings
    from rung.serving.work.stream.source import StreamSource


@dataclass(frozen=True)
class WindowingOptions:
    """Where rows come from, and what is made of them."""

    source: str = argument("A topic of Kafka, or - for lines of JSON from standard input.", "SOURCE")
    window: str = option("60s", "How long a window is.", metavar="SPAN")
    slide: str = option(
        "", "A new window each so often (default: as long as it is: they do not overlap).", metavar="SPAN"
    )
    late: str = option("", "How much later than newer rows a row may come (default: not at all).", metavar="SPAN")
    time: str = option("time", "The field of a row's time; empty: when it comes.", metavar="FIELD")
    by: tuple[str, ...] = option((), "Group by this field; may be repeated.", metavar="FIELD")
    aggregate: tuple[str, ...] = option(
        (), "count, or sum, mean, min or max of a field (mean:price); may be repeated.", metavar="WHAT"
    )
    column: str = option("", "A field that a program folder answers for each row.", metavar="NAME=DIR")
    taken: tuple[str, ...] = option(
        (), "A program's field and the row's field it is taken from.", flags=("--from",), metavar="FIELD=FIELD"
    )
    groups: int = option(100_000, "Groups that are open at most.", low=1)
    lag: str = option("", "Say so where rows are further behind than this.", metavar="SPAN")
    every: float = option(5.0, "Seconds between two reports on standard error.", low=0.1)
    broker: str = option("", "The broker: kafka://HOST:PORT (default: the setting broker).", metavar="URL")
    group: str = option("rung-stream", "The consumer group (Kafka).", metavar="NAME")
    reset: str = option(
        "", "Where to go on when the group's place is gone: earliest or latest (Kafka).", metavar="PLACE"
    )


def stream(options: WindowingOptions) -> None:
    """Aggregate rows in windows of time and print each window as JSON when it is closed; goes on where it was killed
    (Kafka).

    The exit code is 1 when rows were wrong.
    """
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.serving.access.limit import read_seconds
    from rung.serving.endpoints.local import open_any
    from rung.serving.observe.log import start_log
    from rung.serving.work.etl import AnswerColumn
    from rung.serving.work.stream.run import StreamJob, StreamReport
    from rung.serving.work.stream.window import Aggregate, StreamWindows

    start_log("text")
    settings = Settings({"broker": options.broker or None})
    windows = StreamWindows(
        read_seconds(options.window),
        read_seconds(options.slide) if options.slide else 0.0,
        read_seconds(options.late) if options.late else 0.0,
        options.by,
        tuple(Aggregate.read(one) for one in options.aggregate or ("count",)),
        options.groups,
    )

    async def work() -> StreamReport:
        async with Pool(settings) as pool:
            column = None
            if options.column:
                ((name, folder),) = assigned([options.column], "--column").items()
                column = AnswerColumn(name, open_any(folder, pool), assigned(options.taken, "--from"))
            job = StreamJob(
                _source(options, settings),
                windows,
                lambda line: print(line, flush=True),  # noqa: T201 - each window is out before its offset is noted
                lambda line: typer.echo(line, err=True),
                options.time,
                column,
                settings["concurrency"],
                options.every,
                read_seconds(options.lag) if options.lag else None,
            )
            for one in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(one, job.stop)
            return await job.run()

    report = asyncio.run(work())
    typer.echo(str(report), err=True)
    if report.wrong:
        raise typer.Exit(1)


def _source(options: WindowingOptions, settings: Settings) -> StreamSource:
    from rung.core.errors import InputError
    from rung.serving.work.queue.broker import QueueAddress
    from rung.serving.work.stream.source import PipeSource, TopicSource

    if options.source == "-":
        return PipeSource(sys.stdin.fileno())
    if Path(options.source).is_file():
        raise InputError(f"{options.source} is a file", remedy=f"type: rung stream - < {options.source}", code="a-file")
    if options.reset not in ("", "earliest", "latest"):
        raise InputError(f"got --reset {options.reset!r}", remedy="expected earliest or latest", code="reset")
    address = QueueAddress(settings["broker"] or "none:", options.source)
    if not address.scheme.startswith("kafka"):
        raise InputError(
            f"windows are made of a topic of Kafka, not of {address.scheme}", remedy="--broker kafka://HOST:PORT"
        )
    return TopicSource(address, options.group, options.reset)
