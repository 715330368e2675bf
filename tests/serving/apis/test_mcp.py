from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from rung.models.providers.fake import Fake
from rung.serving.access.door import Door
from rung.serving.access.issue import Keyring, Scope, issue
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen, running
from rung.serving.observe.metrics import Metrics
from rung.store import open_store
from tests.serving.loopback import bare, endpoint, program

pytest.importorskip("mcp", reason="needs the extra mcp")
pytestmark = pytest.mark.server


async def test_what_is_served_is_called_as_tools_by_those_who_may(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:
        key, _ = issue(store, "acme", scope=Scope(models=("rung/*",)))
        served = Served(
            [endpoint(program()), bare(Fake())], limits=Limits(grace=1), mcp=True, door=Door(ring=Keyring(store))
        )
        bound = listen("127.0.0.1", 0)
        async with running(make_app(served, warm_up=False), bound), httpx.AsyncClient() as http:
            url = address(bound).replace("/v1", "/mcp")
            headers = {"accept": "application/json, text/event-stream", "authorization": f"Bearer {key}"}

            async def ask(method: str, **params: Any) -> Any:
                body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                return (await http.post(url, json=body, headers=headers)).json()["result"]

            listed = await ask("tools/list")
            assert [tool["name"] for tool in listed["tools"]] == ["rung_echo"]
            said = await ask("tools/call", name="rung_echo", arguments={"message": "hello there"})
            assert (said["content"][0]["text"], said["isError"]) == ("hello there", False)
            for name, arguments in (
                ("fake_echo", {"message": "not mine"}),
                ("rung_echo", {}),
                ("rung_echo", {"message": ""}),
                ("nothing", {"message": "x"}),
            ):
                assert (await ask("tools/call", name=name, arguments=arguments))["isError"]
            assert (await http.post(url, json={}, headers={"accept": "application/json"})).status_code == 401


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_lists_and_calls_and_each_call_is_counted(tmp_path: Path, mode: Any) -> None:
    """``legacy`` is the protocol with its handshake, which most clients still speak."""
    import httpx2
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:
        key, _ = issue(store, "acme", "caller")
        metrics = Metrics()
        served = Served(
            [endpoint(program())], limits=Limits(grace=1), mcp=True, door=Door(ring=Keyring(store)), metrics=metrics
        )
        bound = listen("127.0.0.1", 0)
        async with running(make_app(served, warm_up=False), bound):
            url = address(bound).replace("/v1", "/mcp")
            async with (
                httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}) as http,
                Client(streamable_http_client(url, http_client=http), mode=mode) as client,
            ):
                assert [tool.name for tool in (await client.list_tools()).tools] == ["rung_echo"]
                for message in ("hello there", "ünïcode \n 日本"):
                    said = await client.call_tool("rung_echo", {"message": message})
                    assert (said.content[0].text, said.is_error) == (message, False)  # type: ignore[union-attr]
                assert (await client.call_tool("rung_echo", {"question": "x"})).is_error
        assert b'rung_requests_total{code="",model="rung/echo",status="200"} 2.0' in metrics.text()
