"""Services: what a file may say, and what becomes of processes that end, are restarted and stopped."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError, RungError
from rung.serving.http.process.server import listen
from rung.serving.work.services.control import ControlSocket, control_path, send_command
from rung.serving.work.services.spec import read_services
from rung.serving.work.services.supervisor import ServiceSupervisor
from tests.command import rung

VERBS = ("serve", "worker", "stream", "run", "up")

GOOD = """
env: {RUNG_STORE: "sqlite:///s.db"}
services:
  gateway: {run: serve --config gateway.yaml, count: 2, port: 0, after: [index], grace: 5s}
  worker: {run: [worker, asks, "my program"], count: 2, after: [gateway]}
  index: {run: stream x}
  trainer: {run: run x, every: 6h}
"""


def test_services_begin_behind_those_that_they_come_after(tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text(GOOD)
    spec = read_services(file, VERBS)
    order = spec.order
    assert order.index("index") < order.index("gateway") < order.index("worker")
    assert spec.services["worker"].run == ["worker", "asks", "my program"]
    assert (spec.services["gateway"].grace, spec.services["trainer"].every) == (5, 21600)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("services:\n  a: {run: serve x}\n  a: {run: serve y}", 3),
        ("services:\n  a:\n    run: serve x\n    count: many", 4),
        ("services:\n  a:\n    run: serve x\n    cuont: 2", 4),
        ("services:\n  a:\n    run: sreve x", 3),
        ("services:\n  a:\n    run: up other.yaml", 3),
        ("services:\n  a:\n    run: serve x --port 3", 3),
        ("services:\n  a:\n    run: 'worker \"x'", 3),
        ("services:\n  a:\n    run: stream x\n    count: 2", 4),
        ("services:\n  a:\n    run: worker x\n    port: 3", 4),
        ("services:\n  a:\n    run: worker x\n    after: [b]", 4),
        ("services:\n  a: {run: worker x, after: [b]}\n  b: {run: worker x, after: [a]}", 1),
        ("services:\n  'a b': {run: worker x}", 2),
        ("services: {}", 1),
        ("services:\n\ta: x", 2),
        ("services:\n  a: {run: worker x, every: never}", 2),
    ],
)
def test_mistakes_have_their_line(text: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as wrong:
        read_services(file, VERBS)
    assert wrong.value.line == line, str(wrong.value)
    assert "serving.md" not in wrong.value.remedy  # a gateway's file is shown there
    done = rung("up", str(file), folder=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)


PROGRAM = """
import os, signal, socket, sys, time
name, words = sys.argv[1], sys.argv[2:]
if name == "run":
    print("done"); raise SystemExit(0)
if "broken" in words:
    print("rung: no such program"); raise SystemExit(2)
while "held" in words and not os.path.exists("go"):
    time.sleep(0.01)
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
with open("order", "a") as order:
    order.write(f"+{words[0]}\\n")
bound = socket.socket(fileno=int(words[words.index("--fd") + 1])) if "--fd" in words else None
os.write(int(os.environ["RUNG_READY_FD"]), b"ready\\n")
if bound is not None:
    bound.settimeout(0.02)
while not stop:
    try:
        link = bound.accept()[0] if bound is not None else time.sleep(0.02)
        if link: link.sendall(str(os.getpid()).encode()); link.close()
    except TimeoutError:
        pass
with open("order", "a") as order:
    order.write(f"-{words[0]}\\n")
"""


@contextmanager
def running(folder: Path, text: str) -> Iterator[tuple[Path, ServiceSupervisor, list[BaseException]]]:
    """A supervisor at work in a thread of this process, with a program of its own in place of rung."""
    (folder / "program.py").write_text(PROGRAM)
    file = folder / "services.yaml"
    file.write_text(text)
    path = control_path(folder, file)
    supervisor = ServiceSupervisor(
        read_services(file, VERBS), folder, folder / "logs", ControlSocket(path), lambda line: None,
        (sys.executable, "-S", str(folder / "program.py")),
    )  # fmt: skip
    failed: list[BaseException] = []

    def run() -> None:
        try:
            supervisor.run(lambda one: listen("127.0.0.1", 0))
        except BaseException as error:
            failed.append(error)

    with pytest.MonkeyPatch.context() as patch:  # signals are the main thread's alone
        patch.setattr("rung.serving.work.services.supervisor.signal.signal", lambda number, handler: None)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield path, supervisor, failed
        finally:
            supervisor._stop = True
            thread.join(30)
            assert not thread.is_alive()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows(path: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in send_command(path, {"do": "status"})["services"]}


def test_what_is_killed_comes_back_and_a_restart_loses_no_connection(tmp_path: Path) -> None:
    text = "services:\n  b: {run: worker b, after: [a]}\n  a: {run: serve a, count: 2}\n  t: {run: run x, every: 1s, after: [b]}"
    with running(tmp_path, text) as (path, supervisor, failed):
        until(lambda: len(rows(path)) == 4 and all(row["state"] in ("ready", "waits") for row in rows(path).values()))
        host, port = supervisor._sockets["a"].getsockname()

        def ask() -> str:
            with socket.create_connection((host, port), timeout=20) as link:
                return link.recv(20).decode()

        first = rows(path)
        os.kill(first["b.1"]["pid"], signal.SIGKILL)
        until(lambda: rows(path)["b.1"]["pid"] not in (None, first["b.1"]["pid"]))
        assert (rows(path)["b.1"]["restarts"], rows(path)["b.1"]["exit"]) == (1, -9)
        answers: list[str] = []
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                answers.append(ask())

        asking = threading.Thread(target=keep_asking)
        asking.start()
        after = {row["name"]: row for row in send_command(path, {"do": "restart", "service": "a"})["services"]}
        stop.set()
        asking.join()
        assert all(answers)
        assert {after["a.1"]["pid"], after["a.2"]["pid"]}.isdisjoint({first["a.1"]["pid"], first["a.2"]["pid"]})
        with pytest.raises(InputError):
            send_command(path, {"do": "restart", "service": "c"})
        with pytest.raises(InputError) as twice:
            ControlSocket(path)
        assert twice.value.code == "running"
        until(lambda: rows(path)["t.1"]["exit"] == 0)
        send_command(path, {"do": "stop"})
    assert failed == []
    said = (tmp_path / "order").read_text().split()
    assert said[:3] == ["+a", "+a", "+b"]
    assert said[-3:] == ["-b", "-a", "-a"]
    with pytest.raises(InputError) as gone:
        send_command(path, {"do": "status"})
    assert gone.value.code == "not-running"


def test_while_one_is_restarted_the_others_are_looked_after(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with running(tmp_path, "services:\n  a: {run: serve a held}\n  b: {run: worker b}") as (path, supervisor, failed):
        until(lambda: len(rows(path)) == 2 and all(row["state"] == "ready" for row in rows(path).values()))
        (tmp_path / "go").unlink()
        first = rows(path)
        asking = threading.Thread(target=send_command, args=(path, {"do": "restart", "service": "a"}))
        asking.start()
        until(lambda: supervisor._busy)
        os.kill(first["b.1"]["pid"], signal.SIGKILL)
        until(lambda: rows(path)["b.1"]["pid"] not in (None, first["b.1"]["pid"]))
        assert supervisor._busy  # what is restarted is not ready yet
        (tmp_path / "go").touch()
        asking.join()
        assert rows(path)["a.1"]["pid"] != first["a.1"]["pid"]
    assert failed == []


def test_a_service_that_cannot_begin_ends_them_all_with_its_sentence(tmp_path: Path) -> None:
    text = "services:\n  a: {run: worker a}\n  b: {run: worker broken, after: [a]}"
    with running(tmp_path, text) as (_, _, failed):
        until(lambda: bool(failed))
    assert isinstance(failed[0], RungError)
    assert failed[0].code == "not-ready"
    assert "no such program" in failed[0].message
    assert (tmp_path / "order").read_text().split() == ["+a", "-a"]
    assert json.dumps(rung("up", str(tmp_path / "services.yaml"), "--status", folder=tmp_path).returncode) == "2"
