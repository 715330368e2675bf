"""The Kafka protocol over TCP: groups, offsets, dead letters, a place that is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("confluent_kafka", reason="needs the extra kafka")

from rung.core.errors import InputError
from rung.serving.work.queue import kafka as kafka_module
from rung.serving.work.queue.broker import DeadLetter, QueueAddress
from rung.serving.work.queue.kafka import KafkaBroker, OffsetTracker
from tests import brokers
from tests.command import rung

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    with brokers.kafka() as url:
        yield url


def test_offsets_move_on_only_over_what_is_settled() -> None:
    tracker = OffsetTracker()
    for offset in (7, 8, 9, 12):
        tracker.take(offset)
    assert tracker.settle(8) is None
    assert tracker.settle(12) is None
    assert tracker.settle(7) == 9
    assert tracker.settle(7) is None
    assert tracker.settle(9) == 13


@pytest.mark.slow
def test_a_topic_is_answered_and_its_dead_letters_say_why(kafka: str, tmp_path: Path) -> None:
    brokers.save_echo(tmp_path / "echo")
    brokers.kafka_send(kafka, "asks", [(f"m{at}", json.dumps(f"q {at}").encode()) for at in range(30)])
    brokers.kafka_send(kafka, "asks", [("grave", None), ("twice", b'"a"'), ("twice", b'"a"')])
    done = rung("worker", "asks", "echo", "--broker", kafka, "--most", "33", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("33 messages: ")
    assert "1 dead letters" in done.stdout
    answers = brokers.KafkaReader(kafka, "asks.answers").read(32, 2)
    assert {id for id, _, _ in answers} == {f"m{at}" for at in range(30)} | {"twice"}
    texts = {id: json.loads(body or b"")["output"] for id, body, _ in answers}
    assert texts["m7"] == "q 7"
    (dead,) = brokers.KafkaReader(kafka, "asks.dead").read(1, 2)
    assert (dead[0], dead[2]["x-rung-code"], dead[2]["x-rung-queue"]) == ("grave", "empty", "asks")


async def test_what_is_too_large_for_the_dead_letters_goes_there_without_its_body(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a message stopped its partition for good; and one that was given back comes again on the same connection."""
    monkeypatch.setattr(kafka_module, "LARGEST", 2000)
    monkeypatch.setattr(kafka_module, "PAUSE", 0.0)
    brokers.kafka_send(kafka, "large", [("big", b"x" * 1900), ("small", b"y")])
    broker = KafkaBroker(QueueAddress(kafka, "large"), "rung", 1.0)
    await broker.open()
    deliveries = broker.deliveries()
    by_id = {(delivery := await anext(deliveries)).id: delivery for _ in range(2)}
    await broker.leave(by_id["small"])
    assert (await anext(deliveries)).place == by_id["small"].place
    await broker.bury(by_id["big"], DeadLetter("x", "y" * 500, 1))
    await broker.bury(by_id["small"], DeadLetter("x", "y", 1))
    with pytest.raises(InputError, match=r"does not take 3,000 bytes for large\.answers"):
        await broker.answer(by_id["small"], "small", b"z" * 3000)
    await deliveries.aclose()
    await broker.close()
    found = {id: (body, headers) for id, body, headers in brokers.KafkaReader(kafka, "large.dead").read(2, 5)}
    assert found["small"][0] == b"y"
    assert found["big"][0] is None
    assert found["big"][1]["x-rung-body"] == f"left out: 1,900 bytes, see {by_id['big'].place}"
