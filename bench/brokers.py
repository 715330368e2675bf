"""Workers killed with -9 while they answer: is every message answered, and with one answer?

    python bench/brokers.py [--messages 3000] [--kills 4] [--brokers rabbitmq,kafka]

RabbitMQ is Debian's, Kafka librdkafka's mock cluster over TCP (KAFKA_URL: a real one). The program repeats its input: what is measured
is the way there and back. An answer that was sent twice (a worker died between sending it and letting go of the message) has the same
id and the same text, and the program was not asked again: answers in the store are counted too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import brokers  # noqa: E402

from rung.store import open_store  # noqa: E402


def measure(name: str, url: str, messages: int, kills: int, folder: Path) -> str:
    """Send, kill, wait, count: one line."""
    asked = [(f"m{at}", json.dumps({"text": f"question {at}"}).encode()) for at in range(messages)]
    with brokers.Workers(folder, url, "asks", "--running", "16") as workers:
        process = workers.start()
        begun, killed = time.monotonic(), 0
        with open_store(f"sqlite:///{folder / '.rung' / 'rung.db'}") as store:
            scope = f"worker:{url.replace('guest:guest@', '')}/asks"

            def answered() -> int:
                total, failed = store.results.count(scope)
                return total - failed

            if name == "rabbitmq":
                while b"answers" not in (folder / "log").read_bytes():
                    time.sleep(0.1)
                asyncio.run(brokers.rabbit_send(url, "asks", [(id, body, 0) for id, body in asked]))
            else:
                brokers.kafka_send(url, "asks", asked)
            while answered() < messages and time.monotonic() - begun < 600:
                if killed < kills and answered() >= messages * (killed + 1) // (kills + 1):
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    killed += 1
                    process = workers.start()
                time.sleep(0.02)
            seconds = time.monotonic() - begun
            kept = answered()
        time.sleep(1)
        if name == "rabbitmq":
            found = asyncio.run(brokers.rabbit_answers(url, "asks.answers", messages, 30))
        else:
            rows = brokers.KafkaReader(url, "asks.answers").read(10 * messages, 5)
            found = Counter(id for id, _, _ in rows)
        process.terminate()
        process.wait(60)
    return (
        f"{name}: {messages:,} messages, {killed} kills: {len(found):,} answered, {kept:,} answers in the store, "
        f"{sum(found.values()) - len(found)} sent twice, {seconds:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--brokers", default="rabbitmq,kafka")
    given = parser.parse_args()
    print(f"aio-pika {version('aio-pika')}, confluent-kafka {version('confluent-kafka')}")
    for name in given.brokers.split(","):
        with tempfile.TemporaryDirectory() as folder:
            if name == "rabbitmq":
                if why := brokers.no_rabbitmq():
                    print(f"rabbitmq: left out: {why}")
                    continue
                with brokers.rabbitmq() as rabbit:
                    print(measure(name, rabbit.url, given.messages, given.kills, Path(folder)), flush=True)
            else:
                with brokers.kafka() as url:
                    print(measure(name, url, given.messages, given.kills, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
