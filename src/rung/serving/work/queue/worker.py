"""A worker: takes messages, answers each with a program, and lets go of it when its answer is in the store and was
sent.

A message is known by the id that its sender gave it (else by its words). What was answered is in the store's results
before it is sent, so that a message that is delivered again, because a worker was killed or the broker went away, gets
the same answer without the program being asked. What cannot be answered goes to the dead letters with its reason, and
so does what was delivered again and again without an answer: it may be what kills the workers.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from rung.core.codec import digest, encode
from rung.core.errors import InputError, StoreError
from rung.core.parts import program as programs
from rung.core.protocols import Conversing
from rung.core.types import Answer, Failure, Input, Message
from rung.core.types.trail import ToolCaller, calling, recording
from rung.serving.apis.wire.chat import ChatRequest, parse_body
from rung.serving.apis.wire.refused import Refused
from rung.serving.endpoints.local import Opened, as_fields
from rung.serving.endpoints.program import read_input, trail_of
from rung.serving.work.queue.broker import BrokerError, DeadLetter, QueueBroker, QueueDelivery
from rung.store import Store, StoredResult

logger = logging.getLogger("rung.worker")

WAIT = 0.5
"""Seconds before a model that failed is asked again; twice as long each time."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """``running``: messages in hand at once (no more are taken from the broker). ``tries``: how often a model that
    fails is asked; ``deliveries``: how often a message may come without an answer. ``deadline`` in seconds, ``body`` in
    bytes."""

    running: int = 16
    tries: int = 3
    deliveries: int = 5
    deadline: float = 120.0
    body: int = 2**20


@dataclass
class WorkerReport:
    """Messages taken, answered by the program, answered from the store, sent to the dead letters, and left to come
    again."""

    taken: int = 0
    answered: int = 0
    kept: int = 0
    dead: int = 0
    left: int = 0

    def __str__(self) -> str:
        return (
            f"{self.taken:,} messages: {self.answered:,} answered, {self.kept:,} from the store, {self.dead:,} dead letters"
            + (f", {self.left:,} come again" if self.left else "")
        )


@dataclass(frozen=True, slots=True)
class QueueQuestion:
    """What a message asks. ``id`` is the sender's name for it, ``user`` whom it is about (both empty: not said);
    ``turns`` are the conversation that it is the end of."""

    input: Input
    id: str = ""
    user: str = ""
    turns: tuple[Message, ...] = ()


def read_message(body: bytes | None, fields: tuple[str, ...], most: int) -> QueueQuestion:
    """A message: JSON, a text or an object of the program's fields, ``{"id", "input", "user"}``, or a chat request's
    body (``messages``) with an ``id``. Raises InputError (codes empty, too-large, json, input)."""
    if not body:
        raise InputError("the message is empty", remedy="send JSON", code="empty")
    if len(body) > most:
        raise InputError(
            f"the message has {len(body):,} bytes, at most {most:,} are read", remedy="--body", code="too-large"
        )
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the message is not valid JSON: {error}", remedy="send JSON in UTF-8", code="json") from None
    turns: tuple[Message, ...] = ()
    id = user = ""
    if isinstance(value, dict) and {"input", "messages"} & value.keys() - set(fields):
        given = value.get("id")
        id = str(given)[:512] if isinstance(given, str | int) and not isinstance(given, bool) else ""
        user = value["user"] if isinstance(value.get("user"), str) else ""
        if "input" in value.keys() - set(fields):
            found = as_fields(value["input"], fields)
        else:
            found, turns = _read_chat(value, fields)
    else:
        found = as_fields(value, fields)
    try:
        json.dumps(dict(found), ensure_ascii=False).encode()
        "".join([id, user, *(turn.content for turn in turns)]).encode()
    except UnicodeEncodeError:
        raise InputError("the message holds half a character (a lone surrogate)", code="json") from None
    return QueueQuestion(found, id, user, turns)


def _read_chat(value: dict[str, Any], fields: tuple[str, ...]) -> tuple[Input, tuple[Message, ...]]:
    """Input and conversation of a chat request's body; whom it asks, and how the answer is to be sent, is settled by
    the queue."""
    try:
        asked = parse_body(ChatRequest, json.dumps({**value, "model": "-"}).encode())
        return read_input(asked, fields), tuple(turn.message() for turn in asked.messages)
    except Refused as refused:
        raise InputError(refused.message, remedy="send the body of a chat request", code="input") from None


@dataclass
class QueueWorker:
    """Answers what comes from ``broker`` with ``opened``. ``scope`` names the queue in the store's results, ``subject``
    makes of a message's ``user`` what is kept of it."""

    broker: QueueBroker
    opened: Opened
    store: Store
    scope: str
    limits: WorkerLimits = WorkerLimits()
    say: Callable[[str], None] = lambda line: None
    subject: Callable[[str], str] = lambda user: ""
    report: WorkerReport = field(default_factory=WorkerReport)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _fault: StoreError | None = None
    _in_hand: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def stop(self) -> None:
        """Take no more messages; what is in hand is finished."""
        self._stop.set()

    async def run(
        self, *, most: int | None = None, idle: float | None = None, ready: Callable[[], None] = lambda: None
    ) -> WorkerReport:
        """Until ``stop``, ``most`` messages, or ``idle`` seconds without one; ``ready`` is called once it is connected.
        Raises BrokerError when the broker cannot be reached at the start, StoreError when the store fails: what was in
        hand comes again."""
        await self.broker.open()
        ready()
        slots = asyncio.Semaphore(self.limits.running)
        working: set[asyncio.Future[Any]] = set()
        stopping: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
        coming: asyncio.Future[Any] | None = None

        def finish(task: asyncio.Future[Any]) -> None:
            working.discard(task)
            slots.release()

        async with aclosing(self.broker.deliveries()) as deliveries:
            try:
                while not self._stop.is_set() and (most is None or self.report.taken < most):
                    await slots.acquire()  # no message is taken that nobody is free for
                    coming = coming or asyncio.ensure_future(anext(deliveries))
                    await asyncio.wait({coming, stopping}, timeout=idle, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        slots.release()
                        if self._stop.is_set() or not working:
                            break
                        await asyncio.wait({*working, coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                        continue
                    delivery, coming = coming.result(), None
                    self.report.taken += 1
                    task = asyncio.create_task(self._handle(delivery))
                    working.add(task)
                    task.add_done_callback(finish)
            finally:
                if working:
                    await asyncio.wait(working)
                if coming is not None:
                    coming.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await coming
                stopping.cancel()
        if self._fault is not None:
            raise self._fault
        return self.report

    async def _handle(self, delivery: QueueDelivery) -> None:
        try:
            await self._answer(delivery)
        except BrokerError as error:
            self.report.left += 1
            logger.warning("%s comes again: %s", delivery.place, error.message)
            await self.broker.leave(delivery)
        except StoreError as error:
            self.report.left += 1
            self._fault = error
            self.stop()
        except Exception:
            self.report.left += 1
            logger.exception("%s comes again", delivery.place)
            await self.broker.leave(delivery)

    async def _answer(self, delivery: QueueDelivery) -> None:
        try:
            asked = read_message(delivery.body, self.opened.fields, self.limits.body)
        except InputError as error:
            await self._bury(delivery, DeadLetter(error.code, error.message, 1))
            return
        # A message without an id is its words: answered again once another program answers.
        words = [self.opened.fingerprint, dict(asked.input), *([encode(asked.turns)] if len(asked.turns) > 1 else [])]
        id = delivery.id or asked.id or digest(words)
        async with self._in_hand.setdefault(id, asyncio.Lock()):  # a message that came twice at once is asked once
            await self._settle(delivery, id, asked)

    async def _settle(self, delivery: QueueDelivery, id: str, asked: QueueQuestion) -> None:
        """Answer a message, with what was answered before where there is that; or bury it."""
        row, counted = await self._find(id), 0
        if delivery.again is not False and (row is None or row.failed):  # before it is asked: it may end the worker
            await self.store.results.attempt(self.scope, id, int(bool(delivery.again)))
            row, counted = await self._find(id), 1
        if row is not None and not row.failed:
            self.report.kept += 1
            await self._send(delivery, id, row.payload)
            return
        attempts = 1 - counted + (json.loads(row.payload)["attempts"] if row is not None else 0)
        if attempts > self.limits.deliveries:
            await self._note(id, 0)  # whoever sends it once more wants it to be tried once more
            said = f"it was delivered {attempts - 1} times without an answer: it may be what ends the worker"
            await self._bury(delivery, DeadLetter("deliveries", said, attempts - 1))
            return
        answer = await self._ask(id, asked)
        if answer.failure is not None:
            await self._note(id, 0)
        else:
            subject = self.subject(asked.user) if asked.user else ""
            await self.store.results.put([StoredResult(self.scope, id, _payload(id, answer), subject=subject)])
        kept = await self._find(id)  # another worker's, where the message was taken from this one meanwhile
        if answer.failure is not None and (kept is None or kept.failed):
            code = answer.failure.code or answer.failure.where
            await self._bury(delivery, DeadLetter(code, answer.failure.message, attempts))
            return
        assert kept is not None
        self.report.answered += 1
        await self._send(delivery, id, kept.payload)

    async def _ask(self, id: str, asked: QueueQuestion) -> Answer:
        """The program's answer, within the deadline. A model that fails is asked again; an agent goes on in the episode
        that the message's id names."""
        trail, program = trail_of(self.opened, self.store), self.opened.program

        async def once() -> Answer:
            if trail is None:
                return await programs.attempt(program, asked.input)
            if asked.turns and isinstance(program, Conversing) and program.converses:
                with recording(trail):
                    goes_on = functools.partial(program.converse, asked.turns, owner=asked.user)
                    return await programs.attempt(lambda _: goes_on(), asked.input)
            with calling(ToolCaller(trail, "", f"{self.scope}/{id}")):
                return await programs.attempt(program, asked.input)

        answer = Answer(None, failure=Failure("model", "it was never asked"))
        try:
            async with asyncio.timeout(self.limits.deadline):
                for attempt in range(self.limits.tries):
                    if attempt:
                        await asyncio.sleep(WAIT * 2 ** (attempt - 1))
                    answer = await once()
                    if answer.failure is None or answer.failure.where != "model":
                        break
        except TimeoutError:
            said = f"no answer within {self.limits.deadline:g} seconds"
            return Answer(None, failure=Failure("model", said, "deadline"))
        if answer.failure is not None and answer.failure.code == StoreError.code:
            raise StoreError(answer.failure.message)
        return answer

    async def _find(self, id: str) -> StoredResult | None:
        return (await asyncio.to_thread(self.store.results.get, self.scope, [id])).get(id)

    async def _note(self, id: str, attempts: int) -> None:
        await self.store.results.put([StoredResult(self.scope, id, json.dumps({"attempts": attempts}), failed=True)])

    async def _send(self, delivery: QueueDelivery, id: str, payload: str) -> None:
        try:
            await self.broker.answer(delivery, id, payload.encode("utf-8", "backslashreplace"))
        except InputError as error:  # the answer is in the store all the same
            await self._bury(delivery, DeadLetter(error.code, f"the answer: {error.message}", 1))
            return
        await self.broker.settle(delivery)

    async def _bury(self, delivery: QueueDelivery, letter: DeadLetter) -> None:
        await self.broker.bury(delivery, letter)
        await self.broker.settle(delivery)
        self.report.dead += 1
        self.say(f"{delivery.place}: {letter.reason}")


def _payload(id: str, answer: Answer) -> str:
    row: dict[str, Any] = {"id": id, "output": answer.output}
    if answer.confidence is not None:
        row["confidence"] = answer.confidence
    return json.dumps({**row, "usage": encode(answer.usage)}, ensure_ascii=False)
