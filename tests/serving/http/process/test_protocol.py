"""What a connection may do before anything of it is read: heads without end, bodies that never come, clients that leave."""

from __future__ import annotations

import asyncio
import json
import logging
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rung.models.providers.fake import Fake
from rung.serving.http.process import protocol
from rung.serving.http.process.protocol import HEAD, LimitedProtocol
from tests.serving.loopback import bare, serving

pytestmark = pytest.mark.server

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Link, str]]:
    async with serving(bare(Fake())) as url:
        port = int(url.removesuffix("/v1").rpartition(":")[2])
        link = await asyncio.open_connection("127.0.0.1", port)
        yield link, f"Host: 127.0.0.1:{port}\r\n"
        link[1].close()


async def rest(link: Link) -> bytes:
    try:
        return await asyncio.wait_for(link[0].read(), 10)
    except ConnectionResetError:
        return b""


async def pour(link: Link, piece: bytes, times: int) -> None:
    """Send until the server ends the connection."""
    try:
        for _ in range(times):
            link[1].write(piece)
            await link[1].drain()
    except ConnectionError:
        pass


@pytest.mark.parametrize("kind", ["one header", "many headers", "url", "trailers", "one trailer", "chunk extension"])
async def test_a_head_without_end_is_refused_and_not_kept(kind: str) -> None:
    async with connected() as (link, host):
        post = f"POST /v1/chat/completions HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n"
        start, piece = {
            "one header": (f"GET /health HTTP/1.1\r\n{host}X: ", b"x" * 65536),
            "many headers": (f"GET /health HTTP/1.1\r\n{host}", b"X-Some: thing\r\n" * 4000),
            "url": ("GET /", b"x" * 65536),
            "trailers": (f"{post}2\r\n{{}}\r\n0\r\n", b"X-Some: thing\r\n" * 4000),
            "one trailer": (f"{post}2\r\n{{}}\r\n0\r\nX: ", b"x" * 65536),
            "chunk extension": (f"{post}2;", b"x" * 65536),
        }[kind]
        link[1].write(start.encode())
        tracemalloc.start()
        await pour(link, piece, 400)  # 25 MB
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        said = await rest(link)
    assert peak < 8 * 2**20
    if said:  # a client that goes on sending may see the reset before the answer
        status = said.split()[1]
        assert status == b"431", said


async def test_the_longest_head_that_is_allowed() -> None:
    async with connected() as (link, host):
        link[1].write(f"GET /health HTTP/1.1\r\n{host}Connection: close\r\nX: {'x' * (HEAD - 200)}\r\n\r\n".encode())
        assert b"200 OK" in await rest(link)


async def test_what_is_no_http_gets_an_error_object() -> None:
    async with connected() as (link, _):
        link[1].write(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        head, _, body = (await rest(link)).partition(b"\r\n\r\n")
    assert b" 400 " in head
    assert json.loads(body)["error"]["code"] == "invalid_http"


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nX: y\r\n"])
async def test_a_head_that_does_not_come_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LimitedProtocol, "head_seconds", 0.3)
    async with connected() as (link, _):
        link[1].write(sent)
        said = await rest(link)
    assert (b" 408 " in said) is bool(sent)


async def test_a_body_that_goes_on_after_its_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LINGER", 0.3)
    async with connected() as (link, host):
        link[1].write(f"GET /health HTTP/1.1\r\n{host}Content-Length: 1000\r\n\r\n".encode())

        async def trickle() -> None:
            while True:
                link[1].write(b"x")
                await asyncio.sleep(0.05)

        task = asyncio.create_task(trickle())
        assert b"200 OK" in await rest(link)
        task.cancel()


async def test_connections_are_kept_and_used_again() -> None:
    async with connected() as (link, host):
        for _ in range(3):
            link[1].write(f"GET /health HTTP/1.1\r\n{host}\r\n".encode())
            assert b"200 OK" in await link[0].readuntil(b"}")


async def test_a_client_that_leaves_in_mid_body_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with connected() as (link, host):
            head = f"POST /v1/chat/completions HTTP/1.1\r\n{host}Content-Length: 100\r\n\r\n"
            link[1].write(head.encode() + b'{"model": ')
            await link[1].drain()
            await asyncio.sleep(0.1)
            link[1].close()
            await asyncio.sleep(0.2)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("rung")]
    assert len(lines) == 1
    assert " 499 " in lines[0]
    assert all(record.levelno == logging.INFO for record in caplog.records)
