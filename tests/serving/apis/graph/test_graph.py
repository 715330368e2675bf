from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from rung.core.errors import ModelError
from rung.models.providers.fake import Fake
from rung.serving.access.door import Door
from rung.serving.access.issue import Keyring, issue
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen, running
from rung.store import Store, open_store
from tests.serving.loopback import Halting, bare

pytestmark = pytest.mark.server

METRICS = '{"status": "done", "metrics": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}}'


@asynccontextmanager
async def graph(folder: Path, *models: Fake, door: bool = False) -> AsyncIterator[tuple[str, Store]]:
    with open_store(f"sqlite:///{folder / 'rung.db'}") as store:
        served = Served([bare(model) for model in models], limits=Limits(grace=1), graphql=True, store=store)
        if door:
            served = Served(
                served.endpoints, limits=served.limits, graphql=True, store=store, door=Door(ring=Keyring(store))
            )
        bound = listen("127.0.0.1", 0)
        async with running(make_app(served, warm_up=False), bound):
            yield address(bound).replace("/v1", "/graphql"), store


async def test_two_fields_are_asked_and_two_are_read(tmp_path: Path) -> None:
    async with graph(tmp_path, Fake()) as (url, store), httpx.AsyncClient() as http:
        run = store.runs.start("demo", "hash", "{}")
        store.runs.put_rung(run, 0, "rules", METRICS)
        asked: list[str] = []
        sa.event.listen(store.database.pool, "before_cursor_execute", lambda *a: asked.append(a[2]))

        async def ask(query: str) -> Any:
            return (await http.post(url, json={"query": query})).json()

        assert await ask(f'{{ run(id: "{run}") {{ id task }} }}') == {"data": {"run": {"id": run, "task": "demo"}}}
        (read,) = (one for one in asked if "FROM runs" in one)
        assert not any(word in read for word in ("summary", "spec", "payload"))
        found = await ask("{ runs { rungs { name metrics { name low high } } } }")
        assert found["data"]["runs"][0]["rungs"][0]["metrics"] == [{"name": "accuracy", "low": 0.4, "high": 0.6}]
        made = await ask('mutation { generate(model: "fake:echo", message: "so it is") { text finish } }')
        assert made["data"]["generate"] == {"text": "so it is", "finish": "stop"}


BOMBS = {
    "cost": "{ runs(limit: 200) { rungs(limit: 100) { name } } }",
    "cost by a variable": "query($n: Int) { runs(limit: $n) { rungs { name metrics { name } } } }",
    "aliases": "{" + " ".join(f"a{at}: runs {{ id }}" for at in range(20)) + "}",
    "depth": "{ a { b { c { d { e { f { g { h } } } } } } } }",
    "fragments in a circle": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
    "introspection": "{__schema{types{fields{type{fields{type{fields{type{fields{name}}}}}}}}}}",
    "braces": "{" * 500,
    "tokens": "{" + "runs{id}" * 400 + "}",
    "a limit below nothing": "{ runs(limit: -1) { id } }",
    "no such field": "{ passwords }",
}


async def test_bombs_are_refused(tmp_path: Path) -> None:
    async with graph(tmp_path, Fake()) as (url, _), httpx.AsyncClient() as http:
        for name, query in BOMBS.items():
            reply = (await http.post(url, json={"query": query})).json()
            assert reply["errors"], name
            assert not (reply["data"] or {}).get("runs"), name
        for body in (b"{", b"[]", b'{"query": 3}', b'{"query": ""}'):
            assert (await http.post(url, content=body)).status_code == 400


async def test_answers_come_as_they_are_made_and_who_leaves_ends_them(tmp_path: Path) -> None:
    halting = Halting(["one "])
    broken = Halting(["one "], ModelError("it broke"))
    broken.name = "broken"
    headers = {"accept": "text/event-stream"}

    def body(model: str) -> dict[str, str]:
        return {"query": f'subscription {{ generate(model: "{model}", message: "x") {{ text done }} }}'}

    async with graph(tmp_path, Fake(), halting, broken) as (url, _), httpx.AsyncClient(timeout=10) as http:
        told = (await http.post(url, json={**body("fake:echo")}, headers=headers)).text
        events = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: ")]
        assert "".join(one["data"]["generate"]["text"] for one in events) == "x"
        assert events[-1]["data"]["generate"]["done"]
        assert told.endswith("event: complete\ndata:\n\n")
        async with http.stream("POST", url, json=body("fake:halting"), headers=headers) as reply:
            async for line in reply.aiter_lines():
                if line.startswith("data: "):
                    assert json.loads(line[6:])["data"]["generate"] == {"text": "one ", "done": False}
                    break
        async with asyncio.timeout(5):
            await halting.freed.wait()
        told = (await http.post(url, json=body("fake:broken"), headers=headers)).text
        assert '"errors"' in told


async def test_roles_hold(tmp_path: Path) -> None:
    async with graph(tmp_path, Fake(), door=True) as (url, store), httpx.AsyncClient() as http:
        found = {}
        for role in ("auditor", "caller", "developer"):
            key, _ = issue(store, "acme", role)
            replies = [
                await http.post(url, json={"query": query}, headers={"authorization": f"Bearer {key}"})
                for query in ("{ runs { id } }", 'mutation { generate(model: "fake:echo", message: "x") { text } }')
            ]
            found[role] = [
                reply.status_code if reply.status_code != 200 else "errors" not in reply.json() for reply in replies
            ]
        assert (await http.post(url, json={"query": "{ runs { id } }"})).status_code == 401
    assert found == {"auditor": [True, False], "caller": [403, 403], "developer": [True, True]}
