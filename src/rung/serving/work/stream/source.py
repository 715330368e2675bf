"""Where rows come from: standard input, or a topic of Kafka. Nothing is read ahead of what can be worked off but a
small buffer."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rung.core.errors import InputError
from rung.core.system.extras import require
from rung.serving.work.queue.broker import BrokerError, QueueAddress
from rung.serving.work.queue.kafka import BUFFER, PATIENCE, client_options, demand_broker, refuse_gone

if TYPE_CHECKING:
    from confluent_kafka import Consumer, TopicPartition

logger = logging.getLogger("rung.worker")

CHUNK = 2**16
LINE = 2**20
"""Bytes of a row at most."""
ROWS = 256
"""Rows that are read together."""
WAIT = 0.5


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A row as it came; ``place`` says where, for people. ``seen``: it was counted before the process was started
    again."""

    body: bytes
    place: str
    partition: int = 0
    offset: int = 0
    seen: bool = False


class StreamSource(Protocol):
    """Rows in pieces (an empty piece: nothing came). ``done`` is told where to go on: the first offset by partition
    that is still needed, and up to when windows were given out. ``closed`` is what was told last by a process before
    this one; ``behind``: rows that wait at the source, where that is known, by partition."""

    closed: float

    def pieces(self) -> AsyncGenerator[Sequence[StreamRow]]: ...
    async def done(self, first: Callable[[int], int | None], closed: float) -> None: ...
    def behind(self) -> Mapping[int, int] | None: ...
    async def end(self) -> None: ...


class PipeSource:
    """Lines of a file descriptor. Whoever writes to a pipe waits when its lines are not taken."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.closed = descriptor, float("-inf")

    async def pieces(self) -> AsyncGenerator[Sequence[StreamRow]]:
        rest, number = b"", 0
        while data := await asyncio.to_thread(os.read, self.descriptor, CHUNK):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LINE:
                raise InputError(f"line {number + len(lines) + 1} has more than {LINE:,} bytes", code="too-large")
            rows = []
            for line in lines:
                number += 1
                if line.strip():
                    rows.append(StreamRow(line, f"line {number}", 0, number))
            for start in range(0, len(rows), ROWS):
                yield rows[start : start + ROWS]
        if rest.strip():
            yield [StreamRow(rest, f"line {number + 1}", 0, number + 1)]

    async def done(self, first: Callable[[int], int | None], closed: float) -> None:
        pass

    def behind(self) -> Mapping[int, int] | None:
        return None

    async def end(self) -> None:
        pass


class TopicSource:
    """A topic of Kafka, read by one process of the group. The offsets that are committed are those of the oldest row
    that is still needed; beside each stands up to where was read and what was given out, so that a process that goes on
    counts no row twice."""

    def __init__(self, address: QueueAddress, group: str, reset: str) -> None:
        require("confluent_kafka", "kafka", "a topic of Kafka")
        self.address, self.group, self.reset = address, group, reset
        self.closed = float("-inf")
        self._read: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._high: dict[int, int] = {}
        self._consumer: Consumer | None = None
        self._fault: BrokerError | None = None

    def _open(self) -> Consumer:
        from confluent_kafka import OFFSET_BEGINNING, Consumer

        consumer = Consumer(
            {
                **client_options(self.address),
                "group.id": self.group,
                "enable.auto.commit": False,
                "auto.offset.reset": self.reset or "error",
                "queued.max.messages.kbytes": BUFFER,
                "session.timeout.ms": 10_000,
                "heartbeat.interval.ms": 2_000,
                "allow.auto.create.topics": True,
            },
            logger=logging.getLogger("rung.worker.librdkafka"),
        )
        demand_broker(consumer, self.address.hosts)

        def assigned(consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
            known = consumer.committed(list(parts), timeout=PATIENCE)
            for part in known:
                if part.offset < 0:
                    part.offset = OFFSET_BEGINNING
                elif part.metadata:
                    kept = json.loads(part.metadata)
                    self._seen[part.partition] = kept["read"]
                    self.closed = max(self.closed, kept["closed"])
                low, high = consumer.get_watermark_offsets(part, timeout=PATIENCE)
                self._high[part.partition] = high
                self._read[part.partition] = max(low, part.offset)
            consumer.assign(known)

        def revoked(consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
            if self._consumer is not None:
                said = f"another process reads {self.address.queue} as {self.group}: windows need all rows in one"
                self._fault = BrokerError(
                    said, remedy="end it, or name another group: --group NAME", code="two-readers"
                )

        consumer.subscribe([self.address.queue], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        return consumer

    async def pieces(self) -> AsyncGenerator[Sequence[StreamRow]]:
        self._consumer = await asyncio.to_thread(self._open)
        while (consumer := self._consumer) is not None:
            reading = asyncio.ensure_future(asyncio.to_thread(consumer.consume, ROWS, WAIT))
            try:
                messages = await asyncio.shield(reading)
            except asyncio.CancelledError:
                await asyncio.wait({reading})
                raise
            if self._fault is not None:
                raise self._fault
            rows = []
            for message in messages:
                if (error := message.error()) is not None:
                    refuse_gone(error, self.address.queue)
                    continue
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                seen = offset < self._seen.get(partition, 0)
                self._read[partition] = max(offset + 1, self._read.get(partition, 0))
                rows.append(
                    StreamRow(
                        message.value() or b"", f"{self.address.queue}[{partition}]@{offset}", partition, offset, seen
                    )
                )
            yield rows

    async def done(self, first: Callable[[int], int | None], closed: float) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        consumer, offsets = self._consumer, []
        for partition, read in self._read.items():
            needed = first(partition)
            note = json.dumps({"read": read, "closed": closed})
            offsets.append(
                TopicPartition(self.address.queue, partition, read if needed is None else needed, metadata=note)
            )
        if consumer is None or not offsets:
            return
        try:
            await asyncio.to_thread(lambda: consumer.commit(offsets=offsets, asynchronous=False))
        except KafkaException as error:
            logger.warning("what was read is not noted, and would be given out again: %s", error.args[0].str())

    def behind(self) -> Mapping[int, int] | None:
        from confluent_kafka import TopicPartition

        if self._consumer is None:
            return {}
        for partition in self._read:
            known = self._consumer.get_watermark_offsets(TopicPartition(self.address.queue, partition), cached=True)
            if known is not None:
                self._high[partition] = max(known[1], self._high.get(partition, 0))
        return {one: max(0, self._high.get(one, read) - read) for one, read in self._read.items()}

    async def end(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await asyncio.to_thread(consumer.close)


def arrival() -> float:
    """The time of a row that has none of its own."""
    return time.time()


def read_row(row: StreamRow) -> dict[str, Any]:
    """The object of a row. Raises InputError."""
    try:
        value = json.loads(row.body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not valid JSON: {error}", remedy="write one JSON object a row", code="json") from None
    if not isinstance(value, dict):
        raise InputError(f"a {type(value).__name__}, expected an object", remedy="{...}", code="json")
    return value
