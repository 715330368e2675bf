"""Recording of served requests: what is kept, what never is, and what callers say of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from rung.core.errors import StoreError
from rung.core.parts.problem import Problems
from rung.data.sources.traces import gather
from rung.models.providers.fake import Fake
from rung.serving.access.keys import Keys, hash_key
from rung.serving.gateway.plan import Shares
from rung.serving.quality.ab import ABTest
from rung.serving.quality.record import DAY, Recorder
from rung.store import Store, open_store
from rung.store.people.forgetting import forget_old
from tests.serving.loopback import LABELS, bare, endpoint, program, serving

pytestmark = pytest.mark.server


def web(url: str, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=20, headers=headers)


async def ask(client: httpx.AsyncClient, text: str, model: str = "rung/echo", **more: Any) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    reply = await client.post("/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    if more.get("stream"):
        return str(json.loads(reply.text.splitlines()[0].removeprefix("data: "))["id"])
    return str(reply.json()["id"])


async def test_served_answers_become_rows_and_corrections_win(store: Store) -> None:
    async with serving(endpoint(program()), bare(Fake()), recorder=Recorder(store)) as url, web(url) as client:
        talk = [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello!"},
        ]
        ids = [
            await ask(client, "where is my parcel"),
            await ask(client, "refund", stream=True),
            await ask(client, "unscored"),
            await ask(client, "bad"),
        ]
        body = {"model": "fake:echo", "messages": [*talk, {"role": "user", "content": "bye"}]}
        ids.append((await client.post("/chat/completions", json=body)).json()["id"])
        said: list[dict[str, Any]] = [
            {"id": ids[0], "score": 1},
            {"id": ids[1], "correction": "not yet"},
            {"id": ids[1], "correction": "Refunded ñ \x00"},  # the last word counts
            {"id": ids[3], "score": 0.5},
            {"id": ids[4], "score": 1},
        ]
        for one in said:
            assert (await client.post("/feedback", json=one)).status_code == 200
        assert (await client.post("/feedback", json={"id": "chatcmpl-x", "score": 1})).status_code == 404
        assert (await client.post("/feedback", json={"id": ids[0]})).status_code == 400
        assert (await client.post("/feedback", json={"id": ids[0], "correction": ""})).status_code == 400
    problems = Problems()
    rows = list(gather(store.served.all(), {ids[3]: "Good.", "chatcmpl-gone": "?"}, problems))
    assert [(row.question, row.answer, row.source["corrected"]) for row in rows] == [
        ("where is my parcel", "where is my parcel", False),
        ("refund", "Refunded ñ \ufffd", True),
        ("bad", "Good.", True),
        ("Be kind.\nhi\nHello!\nbye", "bye", False),
    ]
    assert [message.role for message in rows[3].messages] == ["system", "user", "assistant", "user", "assistant"]
    assert rows[0].source["served"] == ids[0]
    assert (rows[0].source["model"], rows[0].source["score"]) == ("rung/echo", 1.0)
    assert len(rows[0].source["program"]) == 32
    assert str(rows[0].source["time"]).startswith("20")
    assert [problem.file for problem in problems.found] == [ids[2], "chatcmpl-gone"]
    assert [row.id for row in gather(store.served.all("fake:echo"), {}, Problems())] == [f"served:{ids[4]}"]
    assert len(list(gather(store.served.all(), {}, Problems(), every=True))) == 4  # never what was scored below 1


async def test_keys_and_callers_are_never_stored_and_feedback_wants_the_key(store: Store) -> None:
    keys = Keys([hash_key("sk-very-secret")])
    recorder = Recorder(store)
    async with serving(endpoint(program()), keys=keys, recorder=recorder) as url:
        async with web(url, authorization="Bearer sk-very-secret", cookie="session=crumb") as client:
            id = await ask(client, "hello", user="somebody@example.com")
        async with web(url) as client:
            reply = await client.post("/feedback", json={"id": id, "correction": "x"})
            assert reply.status_code == 401
    await store.settle()
    (row,) = store.served.all()
    assert row.correction is None
    assert json.loads(row.payload)["answers"] == [{"text": "hello"}]
    for secret in ("sk-very-secret", "somebody@example.com", "crumb"):
        assert secret not in repr(row)


async def test_nothing_is_kept_without_being_asked_nor_of_a_refused_request(store: Store) -> None:
    async with serving(endpoint(program())) as url, web(url) as client:
        id = await ask(client, "hello")
        assert (await client.post("/feedback", json={"id": id, "score": 1})).status_code == 404
    async with serving(endpoint(program()), recorder=Recorder(store)) as url, web(url) as client:
        body: dict[str, Any] = {"model": "rung/echo", "messages": [{"role": "system", "content": "no user"}]}
        assert (await client.post("/chat/completions", json=body)).status_code == 400
    await store.settle()
    assert list(store.served.all()) == []


async def test_one_score_counts_in_the_test_and_in_the_record(store: Store) -> None:
    endpoints = [endpoint(program(), "one"), endpoint(program(), "two")]
    split = ABTest(Shares("desk", (("one", 0.5), ("two", 0.5))), endpoints, store)
    async with serving(*endpoints, ab_tests=[split], recorder=Recorder(store)) as url, web(url) as client:
        id = await ask(client, "hello", "desk", user="u")
        said = (await client.post("/feedback", json={"id": id, "score": 1, "correction": "hi"})).json()
        assert said == {"id": id, "model": "desk", "arm": said["arm"], "score": 1.0, "corrected": True}
        again = await client.post("/feedback", json={"id": id, "score": 0})
        assert again.status_code == 409
    (row,) = store.served.all("desk")
    assert (row.score, row.correction) == (1.0, "hi")
    assert store.ab_tests.tally("desk")[said["arm"]].total == 1.0


async def test_a_correction_without_recording_is_refused(store: Store) -> None:
    endpoints = [endpoint(program(), "one"), endpoint(program(), "two")]
    split = ABTest(Shares("desk", (("one", 0.5), ("two", 0.5))), endpoints, store)
    async with serving(*endpoints, ab_tests=[split]) as url, web(url) as client:
        id = await ask(client, "hello", "desk", user="u")
        reply = await client.post("/feedback", json={"id": id, "correction": "hi"})
        assert (reply.status_code, reply.json()["error"]["message"]) == (404, f"no answer {id!r} was recorded here")


async def test_an_answer_is_given_while_the_store_is_in_trouble(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("the disk is full")

    async with serving(endpoint(program()), recorder=Recorder(store)) as url, web(url) as client:
        monkeypatch.setattr(store.database.journal, "_write", broken)
        id = await ask(client, "hello")
        reply = await client.post("/feedback", json={"id": id, "score": 1})
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store")
    assert "1 served requests were not recorded: the disk is full" in caplog.text


async def test_what_is_too_old_is_deleted(store: Store) -> None:
    store.served.note("old", "m", "{}")
    await store.settle()
    recorder = Recorder(store, days=1)
    assert forget_old(store.database, time.time() - DAY) == 0
    tidy = asyncio.create_task(recorder.tidy())
    await asyncio.sleep(0.05)
    assert len(list(store.served.all())) == 1
    tidy.cancel()
    recorder.days = 0
    tidy = asyncio.create_task(recorder.tidy())
    async with asyncio.timeout(10):
        while list(store.served.all()):
            await asyncio.sleep(0.01)
    tidy.cancel()


SERVE = "import typer; from rung.cli.use.serve import serve; typer.run(serve)"


@pytest.mark.slow
def test_a_killed_server_has_lost_only_the_last_half_second(tmp_path: Path) -> None:
    from rung.core.parts import program as programs

    folder = programs.save(program(), tmp_path / "echo")
    url = f"sqlite:///{tmp_path / 'store.db'}"
    command = [sys.executable, "-c", SERVE, str(folder), "--port", "0", "--record", "--store", url]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path)
    try:
        assert server.stdout is not None
        heard = []
        for line in server.stdout:
            heard.append(line)
            if line.startswith("serving at"):
                break
        assert any("RECORDING" in line and str(tmp_path / "store.db") in line for line in heard)
        base = line.split()[2]
        with httpx.Client(base_url=base, timeout=20) as client:
            given: list[tuple[str, float]] = []
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                body = {"model": "rung/echo", "messages": [{"role": "user", "content": f"{len(given)}"}]}
                given.append((client.post("/chat/completions", json=body).json()["id"], time.monotonic()))
        os.kill(server.pid, signal.SIGKILL)
        killed = time.monotonic()
    finally:
        server.kill()
        server.wait(10)
    with open_store(url) as opened:
        kept = {row.id for row in opened.served.all()}
    assert kept <= {id for id, _ in given}
    # 0.5 s until the commit begins; the rest is for a busy machine.
    assert {id for id, when in given if when < killed - 1.2} <= kept


def test_labels_are_recorded_as_the_caller_saw_them(tmp_path: Path) -> None:
    from rung.core.types import ResponseFormat

    async def work() -> None:
        with open_store(f"sqlite:///{tmp_path / 'db'}") as store:
            made = endpoint(program(form=ResponseFormat("labels", labels=LABELS)), "kind")
            async with serving(made, recorder=Recorder(store)) as url, web(url) as client:
                await ask(client, "my card", "rung/kind")
            await store.settle()
            (row,) = store.served.all()
            assert json.loads(row.payload)["answers"] == [{"text": "card"}]

    asyncio.run(work())
