"""RabbitMQ, by aio-pika. A queue that is there is used as it was declared; one that is not is made durable, with ten
priorities and its dead letters behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rung.core.errors import InputError
from rung.core.system.extras import require
from rung.serving.work.queue.broker import PAUSE, BrokerError, DeadLetter, QueueAddress, QueueDelivery

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

logger = logging.getLogger("rung.worker")

PRIORITIES = 10
"""What x-max-priority is for a queue that is made here: 0 to 10. (Quorum queues had none before RabbitMQ 4.)"""

PATIENCE = 10.0
"""Seconds that the first connection may take; later ones are tried until the worker ends, at most this far apart."""


class RabbitBroker:
    """A queue of RabbitMQ. ``running`` is the prefetch: with more, messages of high priority would wait behind those
    taken already."""

    def __init__(self, address: QueueAddress, running: int) -> None:
        require("aio_pika", "rabbitmq", "a queue of RabbitMQ")
        for library in ("aio_pika", "aiormq"):  # they log with a traceback what is told below in a sentence
            logging.getLogger(library).setLevel(logging.CRITICAL)
        self.address, self.running = address, running
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._inbox: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()

    async def deliveries(self) -> AsyncGenerator[QueueDelivery]:
        """Messages, over as many connections as it takes."""
        while True:
            while (message := await self._inbox.get()) is not None:
                yield _delivery(message, self.address.queue)
            logger.warning("the connection to %s is lost; what was in hand comes again", self.address.hosts)
            await self.close()
            wait = 0.2
            while self._connection is None:
                try:
                    await self.open()
                except BrokerError as error:
                    if error.code != BrokerError.code:
                        raise
                    logger.warning("%s; next try in %.1f s", error.message, wait)
                    await asyncio.sleep(wait)
                    wait = min(PATIENCE, wait * 2)

    async def open(self) -> None:
        """Connect. Raises BrokerError (code broker-refused: for the user or the password)."""
        import aio_pika
        from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ProbableAuthenticationError

        inbox = self._inbox = asyncio.Queue()
        try:
            async with asyncio.timeout(PATIENCE):
                connection = await aio_pika.connect(self.address.url)
                self._connection = connection
                channel = self._channel = await connection.channel(on_return_raises=True)
                await channel.set_qos(prefetch_count=self.running)
                for name, arguments in self._queues():
                    await self._declare(name, arguments)
                queue = await channel.get_queue(self.address.queue, ensure=False)
                channel.close_callbacks.add(lambda *_: inbox.put_nowait(None))
                await queue.consume(inbox.put)
        except ProbableAuthenticationError:
            await self.close()
            raise BrokerError(
                f"the broker at {self.address.hosts} refused the user or the password",
                remedy="correct the address: amqp://USER:PASSWORD@HOST/VHOST",
                code="broker-refused",
            ) from None
        except (*CONNECTION_EXCEPTIONS, TimeoutError) as error:
            await self.close()
            said = _words(error)
            if "Connection.Close" in said:  # it answers a virtual host that there is not, or not for this user, so
                said = "it closed the connection: is there such a virtual host, for this user?"
            raise BrokerError(
                f"the broker at {self.address.hosts} cannot be reached: {said}",
                remedy="start it, or name another: --broker amqp://HOST:PORT",
            ) from None

    def _queues(self) -> list[tuple[str, dict[str, Any]]]:
        behind = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.address.grave}
        return [
            (self.address.grave, {}),
            (self.address.to, {}),
            (self.address.queue, {"x-max-priority": PRIORITIES, **behind}),
        ]

    async def _declare(self, name: str, arguments: dict[str, Any]) -> None:
        """Use the queue as it is; make it where there is none. (Asking for one that is not there closes the channel:
        another is used.)"""
        from aio_pika.exceptions import ChannelClosed

        assert self._connection is not None
        asking = await self._connection.channel()
        try:
            await asking.declare_queue(name, passive=True)
        except ChannelClosed:
            asking = await self._connection.channel()
            await asking.declare_queue(name, durable=True, arguments=arguments)
        await asking.close()

    async def answer(self, delivery: QueueDelivery, id: str, body: bytes) -> None:
        """To the queue that the asker waits at (``reply_to``), else to that of the answers."""
        handle: AbstractIncomingMessage = delivery.handle
        to = handle.reply_to or self.address.to
        try:
            await self._publish(to, handle, body, id, {})
        except InputError:
            logger.warning("%s: whoever asked has left (%s); the answer is in the store", delivery.place, to)

    async def bury(self, delivery: QueueDelivery, letter: DeadLetter) -> None:
        handle: AbstractIncomingMessage = delivery.handle
        headers = {**dict(handle.headers or {}), **letter.headers(self.address.queue)}
        await self._publish(self.address.grave, handle, handle.body, handle.message_id or "", headers)

    async def _publish(
        self, to: str, handle: AbstractIncomingMessage, body: bytes, id: str, headers: dict[str, Any]
    ) -> None:
        """Send, and wait until the broker has it. Raises InputError for a queue that is not there (an answer's
        only)."""
        import aio_pika
        from aio_pika.exceptions import CONNECTION_EXCEPTIONS, DeliveryError

        if self._channel is None:
            raise BrokerError("the connection is lost")
        message = aio_pika.Message(
            body,
            message_id=id or None,
            correlation_id=handle.correlation_id,
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers=headers,
        )
        try:
            await self._channel.default_exchange.publish(message, to)
        except DeliveryError as error:
            if to != self.address.to and to != self.address.grave:
                raise InputError(f"there is no queue {to}", code="no-queue") from None
            raise BrokerError(f"the broker did not take it: {_words(error)}") from None
        except CONNECTION_EXCEPTIONS as error:
            raise BrokerError(_words(error)) from None

    async def settle(self, delivery: QueueDelivery) -> None:
        from aio_pika.exceptions import CONNECTION_EXCEPTIONS

        try:
            await delivery.handle.ack()
        except CONNECTION_EXCEPTIONS as error:
            raise BrokerError(_words(error)) from None

    async def leave(self, delivery: QueueDelivery) -> None:
        from aio_pika.exceptions import CONNECTION_EXCEPTIONS

        await asyncio.sleep(PAUSE)
        with suppress(*CONNECTION_EXCEPTIONS):  # of a connection that is lost it comes again by itself
            await delivery.handle.reject(requeue=True)

    async def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with suppress(Exception):  # it may be gone already
                await connection.close()


def _delivery(message: AbstractIncomingMessage, queue: str) -> QueueDelivery:
    place = f"{queue} #{message.delivery_tag}" + (f" ({message.message_id})" if message.message_id else "")
    return QueueDelivery(message.body, (message.message_id or "")[:512], place, bool(message.redelivered), message)


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
