"""A real RabbitMQ: priorities, dead letters, back-pressure, a broker that goes away, workers that are killed."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import brokers
from tests.command import rung

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(bool(brokers.no_rabbitmq()), reason=brokers.no_rabbitmq() or "-"),
]


@pytest.fixture(scope="module")
def rabbit() -> Iterator[brokers.Rabbit]:
    with brokers.rabbitmq() as running:
        yield running


def test_killed_workers_leave_every_message_with_one_answer(rabbit: brokers.Rabbit, tmp_path: Path) -> None:
    """Also priorities, what cannot be answered, and a broker that is restarted midway."""
    with brokers.Workers(tmp_path, rabbit.url, "asks", "--running", "4") as workers:
        asked = [(f"m{at}", json.dumps(f"q {at}").encode(), 0) for at in range(120)]
        first = workers.start()
        log = tmp_path / "log"
        deadline = time.monotonic() + 60
        while b"answers amqp" not in log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        asyncio.run(brokers.rabbit_send(rabbit.url, "asks", asked))
        time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
        first.wait()
        asyncio.run(brokers.rabbit_send(rabbit.url, "asks", [("poison", b"{", 0), ("", b"", 9)]))
        second = workers.start()
        found = asyncio.run(brokers.rabbit_answers(rabbit.url, "asks.answers", 120, 60))
        assert set(found) == {id for id, _, _ in asked}
        dead = asyncio.run(brokers.rabbit_answers(rabbit.url, "asks.dead", 2, 20))
        assert len(dead) == 2
        assert "poison" in dead  # the other was given an id by the sender's library
        rabbit.stop()
        rabbit.start()
        while b"is lost" not in log.read_bytes() and time.monotonic() < deadline + 60:
            time.sleep(0.05)
        asyncio.run(brokers.rabbit_send(rabbit.url, "asks", [("later", b'"here again"', 0)]))
        # What was in hand when the broker stopped is answered from the store and may be sent a second time.
        again = asyncio.run(brokers.rabbit_answers(rabbit.url, "asks.answers", 1, 60, until="later"))
        assert "later" in again
        assert set(again) <= {"later", *(id for id, _, _ in asked)}
        second.terminate()
        assert second.wait(30) == 0
        assert b"Traceback" not in log.read_bytes()


def test_high_priority_goes_first_and_no_more_is_taken_than_is_in_hand(rabbit: brokers.Rabbit, tmp_path: Path) -> None:
    brokers.save_echo(tmp_path / "echo")

    def work(*words: str) -> str:
        done = rung("worker", "ranked", "echo", "--broker", rabbit.url, "--running", "1", *words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    work("--idle", "0.1")  # it makes the queues
    asked = [(f"p{at}", b'"x"', at) for at in (1, 5, 3, 9, 0)]
    asyncio.run(brokers.rabbit_send(rabbit.url, "ranked", asked))
    assert work("--most", "2").startswith("2 messages: 2 answered")
    # Those that were not taken are still there.
    assert set(asyncio.run(brokers.rabbit_answers(rabbit.url, "ranked.answers", 2, 10))) == {"p9", "p5"}
    assert work("--idle", "0.5").startswith("3 messages")


def test_a_wrong_password_and_a_broker_that_is_away_are_sentences(rabbit: brokers.Rabbit, tmp_path: Path) -> None:
    brokers.save_echo(tmp_path / "echo")
    for url, said in (
        (rabbit.url.replace("guest@", "secret@"), "refused the user or the password"),
        (f"amqp://127.0.0.1:{brokers.free_port()}", "cannot be reached"),
        (f"{rabbit.url}/none", "is there such a virtual host"),
    ):
        done = rung("worker", "asks", "echo", "--broker", url, folder=tmp_path)
        assert done.returncode == 1
        assert said in done.stderr
        assert "secret" not in done.stderr
        assert "Traceback" not in done.stderr
