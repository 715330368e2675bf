from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from rung.models.providers.fake import Fake
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen, running
from rung.serving.observe.spans import QUEUE, Spans
from tests.serving.loopback import bare

pytestmark = pytest.mark.server

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@asynccontextmanager
async def collector(status: int = 200) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A collector's URL and the spans that it got."""
    got: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                assert head.startswith("post /v1/traces ")
                size = re.search(r"content-length: (\d+)", head)
                assert size is not None
                body = json.loads(await reader.readexactly(int(size[1])))
                got.extend(body["resourceSpans"][0]["scopeSpans"][0]["spans"])
                writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", got


def read(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


@pytest.mark.parametrize("content", [False, True])
async def test_a_request_is_a_span_with_the_models_in_it(content: bool) -> None:
    async with collector() as (url, got):
        spans = Spans(url, content)
        bound = listen("127.0.0.1", 0)
        app = make_app(Served([bare(Fake())], limits=Limits(grace=1), spans=spans), warm_up=False)
        async with running(app, bound), httpx.AsyncClient(base_url=address(bound)) as http:
            body = {"model": "fake:echo", "messages": [{"role": "user", "content": "a canary"}], "max_tokens": 9}
            await http.post("/chat/completions", json=body, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
            await http.post("/chat/completions", json={**body, "model": "none"})
        assert spans.sent == 2
    whole, inner, failed = got
    assert (whole["traceId"], whole["parentSpanId"], whole["kind"]) == (TRACE, PARENT, 2)
    assert (inner["traceId"], inner["parentSpanId"], inner["name"]) == (TRACE, whole["spanId"], "chat fake:echo")
    said = read(inner)
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.request.max_tokens"] == "9"
    assert int(said["gen_ai.usage.input_tokens"]) > 0
    assert said["gen_ai.response.finish_reasons"] == {"values": [{"stringValue": "stop"}]}
    assert ("gen_ai.input.messages" in said) == content
    assert ("canary" in json.dumps(got)) == content
    assert read(failed)["error.type"] == "model_not_found"
    assert failed["traceId"] != TRACE


async def test_what_nobody_takes_is_counted() -> None:
    async with collector(503) as (url, got):
        spans = Spans(url)
        scope = {"method": "GET", "rung.id": "req-1"}
        for _ in range(QUEUE + 3):
            spans.request(scope, "/ready", 200, 0.1)
        assert spans.lost == 3
        spans._waiting = type(spans._waiting)(list(spans._waiting)[:2])
        await spans.flush()
        assert (spans.lost, spans.sent, len(got)) == (5, 0, 4)  # each was tried twice
        await spans._connections.close()
