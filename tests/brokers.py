"""Real brokers for the tests, started here: RabbitMQ from Debian's package, and librdkafka's own Kafka over TCP (KAFKA_URL: a real one);
and what workers that are killed again and again leave in them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, cast

from rung.core.parts import program as programs
from tests.serving.loopback import program

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

ROOT = Path(__file__).parents[1]


def no_rabbitmq() -> str:
    """Why no RabbitMQ can be started here; empty: it can."""
    if not SERVER.exists():
        return "no RabbitMQ: apt-get install -y --no-install-recommends rabbitmq-server"
    return "" if os.geteuid() == 0 else "RabbitMQ is started as the user rabbitmq, which only root may do"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Rabbit:
    """A RabbitMQ on this machine; ``restart`` keeps its files and its port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"rung{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbit.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(free_port()),
        }
        (folder / "rabbit.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.file.level = warning\n")
        (folder / "plugins").write_text("[].\n")
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, "rabbitmq", "rabbitmq")
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._server = subprocess.Popen(
            [SERVER], env=self._environment, cwd=self.folder, user="rabbitmq", group="rabbitmq", extra_groups=[],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        deadline = time.monotonic() + 90
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                    link.sendall(b"AMQP\0\0\x09\x01")
                    if link.recv(1):
                        return
            except OSError:
                pass
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ did not start, see {self.folder}")
            time.sleep(0.2)

    def stop(self) -> None:
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(30)

    def end(self) -> None:
        self.stop()
        epmd = next(iter(Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)
        if epmd is not None:  # the node's name server, started by it on a port of its own
            for _ in range(20):
                done = subprocess.run([epmd, "-kill"], env=self._environment, capture_output=True, timeout=10)
                if done.returncode == 0 and b"Killed" in done.stdout:
                    break
                time.sleep(0.1)


@contextmanager
def rabbitmq() -> Iterator[Rabbit]:
    """A running RabbitMQ. Its files go with it."""
    folder = Path(tempfile.mkdtemp(prefix="rung-rabbit-"))
    rabbit = Rabbit(folder)
    try:
        rabbit.start()
        yield rabbit
    finally:
        rabbit.end()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def kafka() -> Iterator[str]:
    """The address of a Kafka: KAFKA_URL's, or librdkafka's mock cluster (in memory, over TCP)."""
    if given := os.environ.get("KAFKA_URL"):
        yield given
        return
    from confluent_kafka import Producer

    cluster = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 2})
    broker = next(iter(cluster.list_topics(timeout=10).brokers.values()))
    yield f"kafka://{broker.host}:{broker.port}"


def save_echo(folder: Path) -> Path:
    """A program folder that answers by repeating, without a language model."""
    return programs.save(program(), folder, notes={"fields": ["text"]})


class Workers:
    """Processes of ``rung worker`` on one queue, in ``folder``; those that still run at the end of the context are killed."""

    def __init__(self, folder: Path, broker: str, queue: str, *words: str) -> None:
        self.folder = folder
        self.command = [sys.executable, "-m", "rung", "worker", queue, "echo", "--broker", broker, *words]
        self._begun: list[subprocess.Popen[bytes]] = []
        save_echo(folder / "echo")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._begun:
            process.kill()
            process.wait(30)

    def start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "RUNG_MODEL": "fake:echo"}
        with (self.folder / "log").open("ab") as log:
            self._begun.append(subprocess.Popen(self.command, cwd=self.folder, env=environment, stdout=log, stderr=log))
        return self._begun[-1]


async def rabbit_answers(url: str, queue: str, count: int, seconds: float, until: str = "") -> Counter[str]:
    """Ids of answers in a queue, until ``count`` different ones were read, and ``until`` among them."""
    import aio_pika

    found: Counter[str] = Counter()
    async with await aio_pika.connect(url) as link:
        channel = await link.channel()
        box = await channel.declare_queue(queue, passive=True)
        deadline = time.monotonic() + seconds
        while (len(found) < count or (until and until not in found)) and time.monotonic() < deadline:
            message = await box.get(fail=False, no_ack=True)
            if message is None:
                await asyncio.sleep(0.05)
                continue
            found[message.message_id or ""] += 1
        while (more := await box.get(fail=False, no_ack=True)) is not None:
            found[more.message_id or ""] += 1
    return found


async def rabbit_send(url: str, queue: str, messages: Sequence[tuple[str, bytes, int]]) -> None:
    """Put (id, body, priority) into a queue that a worker has made, or that is made as one would."""
    import aio_pika

    async with await aio_pika.connect(url) as link:
        channel = await link.channel()
        for at, (id, body, priority) in enumerate(messages):
            message = aio_pika.Message(body, message_id=id or None, priority=priority, delivery_mode=2)
            await channel.default_exchange.publish(message, queue)
            if at % 500 == 0:
                await asyncio.sleep(0)


def kafka_send(url: str, topic: str, messages: Sequence[tuple[str, bytes | None]]) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": url.partition("//")[2], "enable.idempotence": True})
    for id, body in messages:
        producer.produce(topic, body, id.encode(), headers={"id": id} if id else {})
        producer.poll(0)
    assert producer.flush(20) == 0


class KafkaReader:
    """All that is in a topic, from its beginning."""

    def __init__(self, url: str, topic: str) -> None:
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

        self.reader = Consumer(
            {
                "bootstrap.servers": url.partition("//")[2],
                "group.id": f"reader-{topic}-{os.getpid()}",
                "enable.auto.commit": False,
                "topic.metadata.refresh.interval.ms": 500,
            }
        )
        parts = self.reader.list_topics(topic, timeout=10).topics[topic].partitions
        self.reader.assign([TopicPartition(topic, part, OFFSET_BEGINNING) for part in parts])

    def read(self, count: int, seconds: float) -> list[tuple[str, bytes | None, dict[str, str]]]:
        """(id, body, headers) of messages, until ``count`` were read or none came for ``seconds``."""
        found: list[tuple[str, bytes | None, dict[str, str]]] = []
        until = time.monotonic() + seconds
        while len(found) < count and time.monotonic() < until:
            for message in self.reader.consume(500, 0.2):
                if message.error() is None:
                    given = cast("list[tuple[str, bytes | None]]", message.headers() or [])
                    headers = {name: (value or b"").decode() for name, value in given}
                    found.append((headers.get("id", ""), message.value(), headers))
                    until = time.monotonic() + seconds
        return found
