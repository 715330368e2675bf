"""What a worker needs of a broker, whichever it is: messages one at a time, somewhere for the answers and for what
cannot be answered."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from rung.core.errors import InputError, RungError

PORTS = {"amqp": 5672, "amqps": 5671, "kafka": 9092, "kafkas": 9093}
"""Schemes of a broker's address, and their ports."""

EXAMPLE = "amqp://USER:PASSWORD@HOST or kafka://HOST:9092"
REASON = 500
"""Characters of a dead letter's reason."""

PAUSE = 1.0
"""Seconds before a message that was given back comes again."""

_QUEUE = re.compile(r"[A-Za-z0-9._-]{1,200}")


class BrokerError(RungError):
    """The broker cannot be reached, went away, or refused what was asked of it. What was not settled comes again."""

    code = "broker"


@dataclass(frozen=True, slots=True)
class QueueAddress:
    """A broker and one of its queues (RabbitMQ) or topics (Kafka). ``answers`` and ``dead`` are where answers and what
    cannot be answered go. ``url`` may hold a password; ``name`` does not."""

    url: str
    queue: str
    answers: str = ""
    dead: str = ""

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            shown = re.sub(r"//[^/]*@", "//...@", self.url)
            raise InputError(f"{shown!r} is no broker's address", remedy=f"expected {EXAMPLE}", code="broker-address")
        for name in filter(None, (self.queue, self.answers, self.dead)):
            if not _QUEUE.fullmatch(name):
                raise InputError(
                    f"{name[:80]!r} cannot name a queue",
                    remedy="use letters, digits, `.`, `_` and `-`, 200 characters at most",
                    code="queue-name",
                )
        if len({self.queue, self.to, self.grave}) < 3:
            raise InputError(
                f"questions, answers and dead letters of {self.queue} must not share a queue",
                remedy="name others: --to QUEUE --dead QUEUE",
                code="queue-name",
            )

    @property
    def to(self) -> str:
        return self.answers or f"{self.queue}.answers"

    @property
    def grave(self) -> str:
        return self.dead or f"{self.queue}.dead"

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def hosts(self) -> str:
        """HOST:PORT, several separated by commas."""
        port = PORTS[self.scheme]
        return ",".join(host if re.search(r":[0-9]+$", host) else f"{host}:{port}" for host in _hosts(self.url))

    @property
    def name(self) -> str:
        return f"{self.scheme}://{self.hosts}{urlsplit(self.url).path.rstrip('/')}/{self.queue}"


def _is_address(url: str) -> bool:
    try:
        scheme, hosts = urlsplit(url).scheme, _hosts(url)
    except ValueError:  # a bracket that is not closed
        return False
    found = [re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?", host) for host in hosts]
    right = all(match is not None and 0 < int(match[2] or 1) < 65536 for match in found)
    return right and scheme in PORTS and not (len(hosts) > 1 and scheme.startswith("amqp"))


def _hosts(url: str) -> list[str]:
    return urlsplit(url).netloc.rpartition("@")[2].split(",")


@dataclass(frozen=True, slots=True)
class QueueDelivery:
    """A message as it came. ``id`` is the sender's name for it, empty where there is none; ``place`` says where it
    stands, for people; ``again``: it was delivered before (None: the broker does not say); ``handle`` is the broker's
    own."""

    body: bytes | None
    id: str
    place: str
    again: bool | None
    handle: Any


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Why a message could not be answered: a code, a sentence, and how often it was delivered."""

    code: str
    reason: str
    attempts: int

    def headers(self, queue: str) -> dict[str, str]:
        reason = " ".join(self.reason.split())[:REASON]
        return {
            "x-rung-code": self.code,
            "x-rung-reason": reason,
            "x-rung-attempts": str(self.attempts),
            "x-rung-queue": queue,
        }


class QueueBroker(Protocol):
    """A connection to a queue. Each call raises BrokerError where the broker is away; ``deliveries`` connects again by
    itself. ``answer`` raises InputError for one that the broker takes from nobody; ``leave`` gives a message back, so
    that it comes again after a moment, and raises nothing."""

    async def open(self) -> None: ...
    def deliveries(self) -> AsyncGenerator[QueueDelivery]: ...
    async def answer(self, delivery: QueueDelivery, id: str, body: bytes) -> None: ...
    async def bury(self, delivery: QueueDelivery, letter: DeadLetter) -> None: ...
    async def settle(self, delivery: QueueDelivery) -> None: ...
    async def leave(self, delivery: QueueDelivery) -> None: ...
    async def close(self) -> None: ...


def open_broker(address: QueueAddress, *, running: int, deadline: float, group: str, reset: str) -> QueueBroker:
    """The broker of an address; nothing is connected yet. Raises MissingExtra."""
    if address.scheme.startswith("amqp"):
        from rung.serving.work.queue.rabbit import RabbitBroker

        return RabbitBroker(address, running)
    from rung.serving.work.queue.kafka import KafkaBroker

    return KafkaBroker(address, group, deadline, reset)
