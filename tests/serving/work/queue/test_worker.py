"""The worker over a broker in memory: what is answered, kept, buried, and what comes again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rung.core.errors import InputError, ServerError
from rung.core.parts import program as programs
from rung.models.prices import Price
from rung.models.providers.fake import Fake
from rung.models.wrap import MeteredModel
from rung.serving.endpoints.local import Opened
from rung.serving.work.queue.broker import BrokerError, DeadLetter, QueueAddress, QueueDelivery
from rung.serving.work.queue.worker import QueueQuestion, QueueWorker, WorkerLimits, read_message
from rung.store import Store, StoredResult, open_store
from tests.serving.loopback import program


class MemoryBroker:
    """Gives what it is told to give; ``lost`` publishings fail as if the broker were away."""

    def __init__(self, given: Sequence[tuple[str, bytes | None, bool | None]], lost: int = 0) -> None:
        self.given, self.lost, self.most = list(given), lost, 2**30
        self.answers: list[tuple[str, dict[str, object]]] = []
        self.dead: list[tuple[bytes | None, DeadLetter]] = []
        self.settled: list[str] = []
        self.left: asyncio.Queue[QueueDelivery] = asyncio.Queue()

    async def open(self) -> None:
        pass

    async def deliveries(self) -> AsyncGenerator[QueueDelivery]:
        for at, (id, body, again) in enumerate(self.given):
            yield QueueDelivery(body, id, f"asks #{at}", again, None)
        while True:
            yield await self.left.get()

    async def answer(self, delivery: QueueDelivery, id: str, body: bytes) -> None:
        if len(body) > self.most:
            raise InputError("the broker does not take it", code="not-taken")
        if self.lost:
            self.lost -= 1
            raise BrokerError("away")
        self.answers.append((id, json.loads(body)))

    async def bury(self, delivery: QueueDelivery, letter: DeadLetter) -> None:
        self.dead.append((delivery.body, letter))

    async def settle(self, delivery: QueueDelivery) -> None:
        self.settled.append(delivery.place)

    async def leave(self, delivery: QueueDelivery) -> None:
        self.left.put_nowait(replace(delivery, again=True))

    async def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as opened:
        yield opened


def worker(broker: MemoryBroker, store: Store, model: Fake | None = None, **limits: float) -> QueueWorker:
    made = program(MeteredModel(model or Fake(), Price(0, 0), None))
    opened = Opened("echo", Path("nowhere"), made, ("text",), programs.fingerprint(made), {}, None)
    return QueueWorker(broker, opened, store, "worker:test", WorkerLimits(**limits))  # type: ignore[arg-type]


def say(text: str) -> bytes:
    return json.dumps(text).encode()


async def test_every_message_gets_one_answer_under_its_id(store: Store) -> None:
    broker = MemoryBroker([(f"m{at}", say(f"word {at}"), False) for at in range(40)])
    report = await worker(broker, store, running=4).run(most=40)
    assert (report.taken, report.answered, report.dead) == (40, 40, 0)
    assert {id: row["output"] for id, row in broker.answers} == {f"m{at}": f"word {at}" for at in range(40)}
    assert len(broker.settled) == 40


async def test_what_comes_again_gets_the_same_answer_without_the_program(store: Store) -> None:
    model = Fake()
    lost = MemoryBroker([("a", say("one"), False)], lost=1)
    report = await worker(lost, store, model).run(most=1)
    assert (report.left, lost.settled) == (1, [])
    again = MemoryBroker([("a", say("one"), True), ("b", say("two"), False)])
    report = await worker(again, store, model).run(most=2)
    assert (report.kept, report.answered) == (1, 1)
    assert sorted(id for id, _ in again.answers) == ["a", "b"]
    assert len(model.calls) == 2


async def test_an_answer_that_was_not_taken_is_sent_again_by_the_same_worker(store: Store) -> None:
    """A broker that is there holds such a message for as long as the worker lives, and a place at work with it."""
    model = Fake()
    broker = MemoryBroker([("a", say("one"), False)], lost=2)
    report = await worker(broker, store, model, running=1).run(most=3)
    assert (report.left, report.answered, report.kept, broker.settled) == (2, 1, 2, ["asks #0"])
    assert [row["output"] for _, row in broker.answers] == ["one"]
    assert len(model.calls) == 1


async def test_an_answer_that_the_broker_takes_from_nobody_is_a_dead_letter(store: Store) -> None:
    broker = MemoryBroker([("a", say("long " * 40), False), ("b", say("two"), False)])
    broker.most = 120
    report = await worker(broker, store).run(most=2)
    assert (report.dead, report.left, sorted(broker.settled)) == (1, 0, ["asks #0", "asks #1"])
    assert [(letter.code, letter.reason) for _, letter in broker.dead] == [
        ("not-taken", "the answer: the broker does not take it")
    ]
    assert not store.results.get("worker:test", ["a"])["a"].failed


async def test_workers_that_have_one_message_at_once_count_two_attempts(store: Store) -> None:
    class Halting(Fake):
        async def generate(self, requests):  # type: ignore[no-untyped-def]
            halted.release()
            await asyncio.Event().wait()

    halted, both = asyncio.Semaphore(0), []
    for _ in range(2):
        hand = worker(MemoryBroker([]), store, Halting())
        both.append(asyncio.create_task(hand._handle(QueueDelivery(say("one"), "a", "asks #0", None, None))))
    async with asyncio.timeout(20):
        await halted.acquire()
        await halted.acquire()
    for task in both:
        task.cancel()
    await asyncio.gather(*both, return_exceptions=True)
    found = store.results.get("worker:test", ["a"])["a"]
    assert (json.loads(found.payload), found.failed) == ({"attempts": 2}, True)


async def test_no_more_are_in_hand_than_there_are_places(store: Store) -> None:
    running = most = 0

    class Counting(Fake):
        async def generate(self, requests):  # type: ignore[no-untyped-def]
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.002)
            running -= 1
            return await super().generate(requests)

    broker = MemoryBroker([(f"m{at}", say("x"), False) for at in range(30)])
    await worker(broker, store, Counting(), running=3).run(most=30)
    assert 1 <= most <= 3


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty"),
        (None, "empty"),
        (b"{not json", "json"),
        (b"\xff\xfe", "json"),
        (b'"\\ud800"', "json"),
        (b"[" * 100_000, "too-large"),
        (b"[" * 900, "json"),
        (b"3", "input"),
        (b'{"question": "x"}', "input"),
        (b'{"text": 3}', "input"),
        (b'{"id": "q", "input": {"text": null}}', "input"),
    ],
)
async def test_what_cannot_be_read_is_buried_with_its_reason(body: bytes | None, code: str, store: Store) -> None:
    model = Fake()
    broker = MemoryBroker([("", body, False), ("", say("fine"), False)])
    report = await worker(broker, store, model, body=2000).run(most=2)
    assert (report.dead, report.answered, len(model.calls)) == (1, 1, 1)
    assert broker.dead[0][0] == body
    assert broker.dead[0][1].code == code
    assert len(broker.settled) == 2


async def test_what_ends_the_workers_is_buried_after_so_many_deliveries(store: Store) -> None:
    model = Fake()
    for _ in range(3):  # as if each worker had died while it had the message
        await store.results.attempt("worker:test", "a", 0)
    broker = MemoryBroker([("a", say("one"), True)])
    await worker(broker, store, model, deliveries=3).run(most=1)
    assert broker.dead[0][1].code == "deliveries"
    assert model.calls == []
    # Sent once more, it is tried once more.
    broker = MemoryBroker([("a", say("one"), False)])
    await worker(broker, store, model, deliveries=3).run(most=1)
    assert [id for id, _ in broker.answers] == ["a"]


async def test_a_model_that_fails_is_asked_again_and_then_the_message_is_buried(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rung.serving.work.queue.worker.WAIT", 0.001)
    passing = Fake(failures=[ServerError("busy"), None])
    broker = MemoryBroker([("a", say("one"), False)])
    assert (await worker(broker, store, passing).run(most=1)).answered == 1
    broker = MemoryBroker([("b", say("two"), False)])
    report = await worker(broker, store, Fake(failures=[ServerError("busy")] * 9)).run(most=1)
    assert (report.dead, broker.dead[0][1].code) == (1, "server")


async def test_an_answer_that_takes_too_long_is_a_dead_letter(store: Store) -> None:
    broker = MemoryBroker([("a", say("one"), False)])
    await worker(broker, store, Fake(latency=5), deadline=0.02).run(most=1)
    assert broker.dead[0][1].code == "deadline"


async def test_stopping_finishes_what_is_in_hand(store: Store) -> None:
    broker = MemoryBroker([("a", say("one"), False)])
    job = worker(broker, store, Fake(latency=0.05))
    asyncio.get_running_loop().call_later(0.02, job.stop)
    assert (await job.run()).answered == 1
    assert (await worker(MemoryBroker([]), store).run(idle=0.01)).taken == 0


def test_a_message_names_itself_and_its_input() -> None:
    assert read_message(b'{"id": 7, "input": "x"}', ("text",), 100) == QueueQuestion({"text": "x"}, "7")
    assert read_message(b'{"a": "1", "b": "2", "more": 3}', ("a", "b"), 100) == QueueQuestion({"a": "1", "b": "2"})
    assert read_message(b'{"input": "x", "id": "y"}', ("input",), 100) == QueueQuestion({"input": "x"})
    assert read_message(b'{"messages": "x", "id": "y"}', ("messages",), 100) == QueueQuestion({"messages": "x"})


def test_a_message_may_be_the_body_of_a_chat_request() -> None:
    turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "2"},
    ]
    body = {"id": "q", "model": "any", "user": "ann", "messages": turns, "stream": True}
    found = read_message(json.dumps(body).encode(), ("text",), 1000)
    assert (found.input, found.id, found.user) == ({"text": "2"}, "q", "ann")
    assert [(turn.role, turn.content) for turn in found.turns] == [(one["role"], one["content"]) for one in turns]
    both = read_message(
        json.dumps({"messages": [{"role": "user", "content": '{"a": "1", "b": "2"}'}]}).encode(), ("a", "b"), 99
    )
    assert both.input == {"a": "1", "b": "2"}
    for wrong in (
        [],
        "x",
        [{"role": "user"}],
        [{"role": "king", "content": "x"}],
        [{"role": "user", "content": "\ud800"}],
    ):
        with pytest.raises(InputError) as refused:
            read_message(json.dumps({"messages": wrong}).encode(), ("text",), 1000)
        assert refused.value.code in ("input", "json")


async def test_messages_of_one_id_that_come_at_once_ask_the_program_once(store: Store) -> None:
    model = Fake(latency=0.02)
    broker = MemoryBroker([("a", say("one"), False), ("a", say("one"), False), ("b", say("two"), False)])
    report = await worker(broker, store, model).run(most=3)
    assert (report.answered, report.kept, len(model.calls)) == (2, 1, 2)
    assert [row["output"] for id, row in broker.answers if id == "a"] == ["one", "one"]


async def test_what_another_worker_answered_meanwhile_is_not_buried(store: Store) -> None:
    class Failing(Fake):
        async def generate(self, requests):  # type: ignore[no-untyped-def]
            await store.results.put([StoredResult("worker:test", "a", '{"id": "a", "output": "theirs"}')])
            raise ServerError("busy")

    broker = MemoryBroker([("a", say("one"), True)])
    report = await worker(broker, store, Failing(), tries=1).run(most=1)
    assert (report.dead, broker.answers) == (0, [("a", {"id": "a", "output": "theirs"})])


async def test_all_answers_to_somebody_can_be_forgotten(store: Store) -> None:
    broker = MemoryBroker([(id, json.dumps({"input": "x", "user": id}).encode(), False) for id in ("ann", "bob")])
    job = worker(broker, store)
    job.subject = store.subjects.mark
    await job.run(most=2)
    assert store.subjects.forget("ann").results == 1
    assert set(store.results.get("worker:test", ["ann", "bob"])) == {"bob"}


@pytest.mark.parametrize(
    ("url", "queue"),
    [
        ("amqp//host", "asks"),
        ("http://host", "asks"),
        ("kafka://", "asks"),
        ("kafka://a:x", "asks"),
        ("amqp://a,b", "asks"),
        ("amqp://a:99999", "asks"),
        ("kafka://a:1,b:0", "asks"),
        ("amqp://[::1", "asks"),
        ("kafka://h", "a queue"),
        ("kafka://h", ""),
    ],
)
def test_addresses_that_are_none_are_refused(url: str, queue: str) -> None:
    with pytest.raises(InputError) as refused:
        QueueAddress(url, queue or "é")
    assert refused.value.code in ("broker-address", "queue-name")
    with pytest.raises(InputError) as wrong:
        QueueAddress("ftp://me:secret@h", "asks")
    assert "secret" not in str(wrong.value)


def test_an_address_has_a_name_without_its_password() -> None:
    address = QueueAddress("amqp://me:secret@[::1]/team", "asks")
    assert (address.hosts, address.name) == ("[::1]:5672", "amqp://[::1]:5672/team/asks")
    assert QueueAddress("kafka://a,b:7", "asks").hosts == "a:9092,b:7"
    with pytest.raises(InputError):
        QueueAddress("kafka://a", "asks", "asks")
