"""Kafka, by confluent-kafka (librdkafka). Offsets are committed up to the first message that is still in hand, so that
none is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from rung.core.errors import InputError, RungError
from rung.core.system.extras import require
from rung.serving.work.queue.broker import PAUSE, BrokerError, DeadLetter, QueueAddress, QueueDelivery

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
    from confluent_kafka import Message as KafkaMessage

logger = logging.getLogger("rung.worker")
_library = logging.getLogger("rung.worker.librdkafka")

POLL = 0.5
PATIENCE = 10.0
BUFFER = 4096
"""Kilobytes of messages that the library may fetch ahead."""
LARGEST = 10**9
"""Bytes of a message that the library gives to the broker, whose own limit is the one that counts."""


@dataclass
class OffsetTracker:
    """Offsets of one partition: what is in hand, and up to where all is done."""

    done: int = -1
    """The offset after the last message before which all are settled; -1: none was taken yet."""
    open: dict[int, bool] = field(default_factory=dict)
    """By offset, in the order taken: whether it is settled."""

    def take(self, offset: int) -> None:
        if self.done < 0:
            self.done = offset
        self.open[offset] = False

    def settle(self, offset: int) -> int | None:
        """Note that a message is settled. The offset to commit, where it has moved on."""
        if offset not in self.open:
            return None
        self.open[offset] = True
        before = self.done
        for first in list(self.open):
            if not self.open[first]:
                break
            del self.open[first]
            self.done = first + 1
        return self.done if self.done != before else None


def client_options(address: QueueAddress) -> dict[str, Any]:
    """What every client of a broker is told: ``kafkas`` is TLS, a user in the address means SASL's PLAIN."""
    parts = urlsplit(address.url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    secure = "SSL" if parts.scheme == "kafkas" else "PLAINTEXT"
    options = {
        "bootstrap.servers": address.hosts,
        "log_level": 4,
        "socket.connection.setup.timeout.ms": 5000,
        "security.protocol": f"SASL_{secure}" if user else secure,
    }
    if user:
        options |= {"sasl.mechanism": "PLAIN", "sasl.username": unquote(user), "sasl.password": unquote(password)}
    return options


def demand_broker(client: Any, hosts: str) -> None:
    """Raises BrokerError where no broker answers."""
    from confluent_kafka import KafkaException

    try:
        client.list_topics(timeout=PATIENCE)
    except KafkaException as error:
        raise BrokerError(
            f"no broker answers at {hosts}: {error.args[0].str()}",
            remedy="start it, or name another: --broker kafka://HOST:PORT",
        ) from None


def refuse_gone(error: KafkaError, topic: str) -> None:
    """Raises InputError for an offset that is gone; BrokerError for faults that do not pass. Others are told, and
    pass."""
    from confluent_kafka import KafkaError as Kinds

    if error.code() == Kinds._AUTO_OFFSET_RESET:
        raise InputError(
            f"{topic}: the place where this group had stopped is gone (the broker deletes old messages): {error.str()}",
            remedy="say where to go on: --reset earliest (the oldest that is left) or --reset latest",
            code="offset-gone",
        )
    if error.fatal() or error.code() in (Kinds.TOPIC_AUTHORIZATION_FAILED, Kinds.GROUP_AUTHORIZATION_FAILED):
        raise BrokerError(f"{topic}: {error.str()}", remedy="see the broker's settings", code="broker-refused")
    if error.code() not in (Kinds._PARTITION_EOF, Kinds._ALL_BROKERS_DOWN, Kinds._TRANSPORT):
        logger.warning("%s: %s", topic, error.str())


class KafkaBroker:
    """A topic of Kafka, read by the group ``group``. ``reset`` (earliest, latest) says where to go on when the place
    where the group had stopped is gone; empty: nowhere."""

    def __init__(self, address: QueueAddress, group: str, deadline: float, reset: str = "") -> None:
        require("confluent_kafka", "kafka", "a topic of Kafka")
        self.address, self.group, self.reset = address, group, reset
        self._interval = max(300_000, int(deadline * 2000))
        self._consumer: Consumer | None = None
        self._producer: Producer | None = None
        self._trackers: dict[int, OffsetTracker] = {}
        self._left: list[QueueDelivery] = []
        self._broken: BrokerError | None = None
        self._closed = Event()

    async def open(self) -> None:
        """Connect. Raises BrokerError if no broker answers."""
        self._consumer, self._producer = await asyncio.to_thread(self._connect)
        Thread(target=self._hear, args=(self._producer,), daemon=True).start()

    def _connect(self) -> tuple[Consumer, Producer]:
        from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer

        shared = client_options(self.address)
        # The timeouts say how long a message may wait for a broker that is away.
        producer = Producer(
            {**shared, "enable.idempotence": True, "delivery.timeout.ms": 30_000, "message.max.bytes": LARGEST},
            logger=_library,
        )
        demand_broker(producer, self.address.hosts)
        consumer = Consumer(
            {
                **shared,
                "group.id": self.group,
                "enable.auto.offset.store": False,
                "auto.commit.interval.ms": 200,
                "auto.offset.reset": self.reset or "error",
                "session.timeout.ms": 10_000,  # after it the partitions of a worker that was killed go to another
                "heartbeat.interval.ms": 2_000,
                "max.poll.interval.ms": self._interval,
                "queued.max.messages.kbytes": BUFFER,
                "allow.auto.create.topics": True,
            },
            logger=_library,
        )

        def assigned(consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
            """A partition that was never read begins at its beginning; one whose place is gone is told by
            ``auto.offset.reset``."""
            known = consumer.committed(list(parts), timeout=PATIENCE)
            for part in known:
                if part.offset < 0:
                    part.offset = OFFSET_BEGINNING
                self._trackers[part.partition] = OffsetTracker()
            consumer.assign(known)

        def revoked(consumer: Consumer, parts: Sequence[TopicPartition]) -> None:
            for part in parts:
                self._trackers.pop(part.partition, None)

        consumer.subscribe([self.address.queue], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        return consumer, producer

    async def deliveries(self) -> AsyncGenerator[QueueDelivery]:
        """Messages, until closed. Raises InputError (code offset-gone) where the group's place is gone, BrokerError
        once nothing can be sent any more."""
        while self._consumer is not None:
            if self._broken is not None:
                raise self._broken
            while self._left:
                delivery = self._left.pop()
                if self._holds(delivery.handle):
                    yield delivery
            for message in await self._consume(self._consumer):
                error = message.error()
                if error is not None:
                    refuse_gone(error, self.address.queue)
                    continue
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                self._trackers.setdefault(partition, OffsetTracker()).take(offset)
                place = f"{self.address.queue}[{partition}]@{offset}"
                yield QueueDelivery(message.value(), _id(message), place, None, message)

    async def _consume(self, consumer: Consumer) -> list[KafkaMessage]:
        """A message, if one comes. When this is cancelled the thread is waited for: nothing may close what it reads
        from."""
        reading = asyncio.ensure_future(asyncio.to_thread(consumer.consume, 1, POLL))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait({reading})
            raise

    def _hear(self, producer: Producer) -> None:
        """Tell of each message when the broker has it, until closed."""
        while not self._closed.is_set():
            producer.poll(0.1)

    async def answer(self, delivery: QueueDelivery, id: str, body: bytes) -> None:
        await self._publish(self.address.to, delivery.handle, body, {"id": id})

    async def bury(self, delivery: QueueDelivery, letter: DeadLetter) -> None:
        """To the dead letters, without its body where the broker takes no message of its size."""
        message: KafkaMessage = delivery.handle
        body, headers = message.value(), {**_headers(message), **letter.headers(self.address.queue)}
        try:
            await self._publish(self.address.grave, message, body, headers)
        except InputError:
            headers["x-rung-body"] = f"left out: {len(body or b''):,} bytes, see {delivery.place}"
            await self._publish(self.address.grave, message, None, headers)

    async def _publish(self, topic: str, asked: KafkaMessage, body: bytes | None, headers: dict[str, Any]) -> None:
        """Send, and wait until the broker has it. Raises InputError (code not-taken) for what it
        takes from nobody: too large, or without the key that the topic wants."""
        from confluent_kafka import KafkaException

        loop = asyncio.get_running_loop()
        sent: asyncio.Future[KafkaError | None] = loop.create_future()

        def told(error: KafkaError | None, message: KafkaMessage) -> None:
            def tell() -> None:
                if not sent.done():
                    sent.set_result(error)

            loop.call_soon_threadsafe(tell)

        producer = self._producer
        if producer is None:
            raise BrokerError("the connection is closed")
        try:
            producer.produce(topic, body, asked.key(), headers=headers, on_delivery=told)
            error = await sent
        except BufferError:
            raise BrokerError("the broker takes no messages, and no more can wait") from None
        except KafkaException as raised:
            error = raised.args[0]
        if error is not None:
            raise self._refusal(error, topic, len(body or b""))

    def _refusal(self, error: KafkaError, topic: str, size: int) -> RungError:
        """Why a message was not sent. After a fatal error nothing can be: the worker ends, and its messages come
        again."""
        from confluent_kafka import KafkaError as Kinds

        if error.code() in (Kinds.MSG_SIZE_TOO_LARGE, Kinds.INVALID_MSG, Kinds.INVALID_RECORD):
            return InputError(f"the broker does not take {size:,} bytes for {topic}: {error.str()}", code="not-taken")
        refused = BrokerError(f"{topic}: {error.str()}", remedy="start the worker again")
        if error.fatal():
            self._broken = refused
        return refused

    def _holds(self, message: KafkaMessage) -> bool:
        """Whether a message is still in hand here: its partition may be another worker's by now."""
        tracker = self._trackers.get(cast("int", message.partition()))
        return tracker is not None and cast("int", message.offset()) in tracker.open

    async def leave(self, delivery: QueueDelivery) -> None:
        """Without this it would come again only after a restart, and no later offset would be committed before."""
        await asyncio.sleep(PAUSE)
        self._left.append(delivery)

    async def settle(self, delivery: QueueDelivery) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        message: KafkaMessage = delivery.handle
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        tracker = self._trackers.get(partition)
        done = tracker.settle(offset) if tracker is not None else None
        if done is None or self._consumer is None:
            return
        try:
            self._consumer.store_offsets(offsets=[TopicPartition(self.address.queue, partition, done)])
        except KafkaException as error:  # the partition is another worker's now, which gets it from the store
            logger.debug("%s: %s", delivery.place, error)

    async def close(self) -> None:
        consumer, producer, self._consumer, self._producer = self._consumer, self._producer, None, None
        self._closed.set()
        if consumer is not None:
            await asyncio.to_thread(consumer.close)
        if producer is not None:
            await asyncio.to_thread(producer.flush, 5.0)


def _headers(message: KafkaMessage) -> dict[str, Any]:
    return dict(cast("list[tuple[str, Any]]", message.headers() or ()))


def _id(message: KafkaMessage) -> str:
    """The header ``id`` (or ``message-id``). A key is no id: it says which partition."""
    for name, value in _headers(message).items():
        if name.lower() in ("id", "message-id"):
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
            return text[:512]
    return ""
