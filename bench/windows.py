"""A stream of rows over Kafka, slower and faster than it can be read: lag, memory, and whether every row is counted.

    python bench/windows.py [--rows 100000] [--rate 5000] [--seconds 10]

The broker is librdkafka's mock cluster over TCP (KAFKA_URL: a real one). First ``--rows`` rows wait and are read at once.
Then rows come at R (``--rate``), 2R and 20R a second, as far as they can be sent. Lag is what ``rung stream`` says of itself, once a second.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Producer

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import brokers  # noqa: E402


def send(producer: Producer, topic: str, rate: float, seconds: float) -> int:
    """Rows at a steady rate, each with the time at which it was sent."""
    began, sent = time.time(), 0
    while (gone := time.time() - began) < seconds:
        for _ in range(min(int(gone * rate) - sent, 50_000 - len(producer))):  # so many may wait to be sent
            producer.produce(topic, json.dumps({"time": time.time(), "label": "ab"[sent % 2]}).encode())
            sent += 1
        producer.poll(0.01)
    producer.flush(30)
    return sent


def measure(url: str, topic: str, sent: int, rate: float, seconds: float) -> tuple[float, str]:
    """Read ``sent`` rows that wait, or those that come meanwhile. Rows a second, and a line."""
    producer = Producer({"bootstrap.servers": url.partition("//")[2], "linger.ms": 5})
    command = [sys.executable, "-m", "rung", "stream", topic, "--broker", url, "--window", "1s", "--late", "1s",
               "--by", "label", "--every", "1", "--lag", "3s"]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        error = Path(folder, "err")
        with error.open("wb") as err, Path(folder, "out").open("wb") as out:
            job = subprocess.Popen(
                command, stdout=out, stderr=err, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
            )
        try:
            sizes: list[float] = []
            before = 0
            if rate:
                while not rows(error.read_text()):
                    time.sleep(0.1)
                before = len(error.read_text())  # the first row had waited for the start
                sent = 1 + send(producer, topic, rate, seconds)
            began, begun = time.monotonic(), 0.0
            while (read := rows(error.read_text())) < sent and time.monotonic() - began < 120:
                begun = begun or (time.monotonic() if read else 0.0)
                sizes.append(int(Path(f"/proc/{job.pid}/statm").read_text().split()[1]) * 4096 / 2**20)
                time.sleep(0.2)
            used = sum(map(int, Path(f"/proc/{job.pid}/stat").read_text().rpartition(")")[2].split()[11:13])) / 100
        finally:
            job.kill()
            job.wait()
        text = error.read_text()
        lags = [float(found.replace(",", "")) for found in re.findall(r"lag ([\d.,]+) s", text[before:])]
        took = time.monotonic() - began
        said = f"{rows(text):,} of {sent:,} rows read, largest lag {max(lags, default=0):.1f} s, BEHIND said {text[before:].count('BEHIND')} times"
        return (
            sent / took,
            f"{said}, {max(sizes, default=0):.0f} MB at most, {used:.1f} s of CPU, {took:.1f} s after the last was sent",
        )


def rows(text: str) -> int:
    """How many rows were read, by what was said last."""
    found = re.findall(r"([\d,]+) rows, [\d,]+ windows", text)
    return int(found[-1].replace(",", "")) if found else 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    with brokers.kafka() as url:
        producer = Producer({"bootstrap.servers": url.partition("//")[2], "linger.ms": 5})
        now = time.time() - given.rows / 1000  # rows of the future are wrong
        for at in range(given.rows):
            producer.produce("waiting", json.dumps({"time": now + at / 1000, "label": "ab"[at % 2]}).encode())
            if at % 1000 == 0:
                producer.poll(0)
        producer.flush(60)
        capacity, said = measure(url, "waiting", given.rows, 0.0, 0.0)
        print(f"waiting: {capacity:,.0f} rows a second with start; {said}", flush=True)
        for rate in (given.rate, 2 * given.rate, 20 * given.rate):
            topic = f"at-{rate}"
            brokers.kafka_send(url, topic, [("", json.dumps({"time": time.time(), "label": "a"}).encode())])
            _, said = measure(url, topic, 0, rate, given.seconds)
            print(f"at {rate:,.0f} rows a second: {said}", flush=True)


if __name__ == "__main__":
    main()
