"""HTTP/1.1 connections to other servers: one request at a time, kept for the next one.

A general client costs a gateway as much as all its own work (aiohttp: 200 us of 700 a request). This one sends POST
with a prepared head, reads with llhttp (httptools), and follows no redirect, keeps no cookie and asks no proxy.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from rung.core import __version__
from rung.serving.endpoints.remote.upstream import broken

HEAD = 64 * 1024
"""Bytes of a response's headers at most."""

BUFFER = 1024 * 1024
"""Bytes that wait to be read, after which the other side is asked to wait."""

IDLE = 30.0
"""Seconds that an unused connection is kept."""

CONNECT = 10.0
"""Seconds until a connection is given up."""


class UpstreamConnection(asyncio.Protocol):
    """A connection and the response that is being read from it. ``headers`` have lower-case names."""

    def __init__(self, target: UpstreamTarget) -> None:
        self.target = target
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.over = self.lost = self.used = False
        self.idle_since = 0.0
        self._parts: list[bytes] = []
        self._size = self._head = 0
        self._paused = self._keep = False
        self._fault = ""
        self._parser: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    # ------------------------------------------------------------ what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail("sent something that is not HTTP" if not self._fault else self._fault, type(error).__name__)
        if self._size > BUFFER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        # An answer without a length ends with its connection.
        if (
            self.status
            and not self.over
            and error is None
            and not {b"content-length", b"transfer-encoding"} & set(self.headers)
        ):
            self.over = True
        self._wake()

    # ------------------------------------------------------------ what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head > HEAD:
            self._fault = f"sent more than {HEAD:,} bytes of headers"
            raise ValueError(self._fault)
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = {}  # of "100 Continue" and its like; the answer comes after it
        else:
            self.status = status

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)

    def on_message_complete(self) -> None:
        if self.status:
            self.over, self._keep = True, self._parser.should_keep_alive()

    # ------------------------------------------------------------ what endpoints call

    async def send(self, body: bytes) -> None:
        """Send a request and return when the head of its answer is there. Raises Refused (502); ConnectionResetError
        where a kept connection turns out to be closed and nothing of an answer has come."""
        self.status, self.headers, self.over = 0, {}, False
        self._head = self._size = 0
        self._parser = httptools.HttpResponseParser(self)
        assert self._transport is not None
        self._transport.write(b"%b%d\r\n\r\n%b" % (self.target.head, len(body), body))
        while not self.status:
            if self._fault:
                raise broken(self._fault)
            if self.lost:
                if self.used and not self._head:
                    raise ConnectionResetError
                raise broken("closed the connection without an answer")
            await self._wait()

    async def part(self) -> bytes:
        """What has come of the body; empty: it is whole. Raises Refused (502) when it breaks off."""
        while not self._parts:
            if self.over:
                return b""
            if self._fault or self.lost:
                raise broken(self._fault or "broke off", code="stream_cut")
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def release(self) -> None:
        """The answer is read, or nobody wants the rest of it: keep the connection, or close it."""
        if self.over and self._keep and not self.lost and not self._parts:
            self._parser = None
            self.used, self.idle_since = True, time.monotonic()
            idle = self.target.idle
            idle.append(self)
            while idle[0].lost or self.idle_since - idle[0].idle_since > IDLE:  # what a burst has left
                idle.pop(0).close()
        else:
            self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, why: str, kind: str) -> None:
        self._fault = why
        self.close()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@dataclass
class UpstreamTarget:
    """A place that is asked: ``head`` is all of a request's head but its length."""

    host: str
    port: int
    tls: bool
    head: bytes
    idle: list[UpstreamConnection] = field(default_factory=list)


class Connections:
    """The connections of a server to others, by place and key. They are closed with it."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], UpstreamTarget] = {}
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, key: str, body: bytes) -> UpstreamConnection:
        """Send ``body`` (JSON) to ``url``; the head of the answer is there. A kept connection that the other side had
        closed is replaced by a new one, once. Raises Refused (502)."""
        target = self._targets.get((url, key)) or self._target(url, key)
        while target.idle:
            kept = target.idle.pop()
            if kept.lost or time.monotonic() - kept.idle_since > IDLE:
                kept.close()
                continue
            try:
                return await _sent(kept, body)
            except ConnectionResetError:
                break
        return await _sent(await self._connect(target), body)

    async def close(self) -> None:
        for target in self._targets.values():
            for connection in target.idle:
                connection.close()
            target.idle.clear()

    async def _connect(self, target: UpstreamTarget) -> UpstreamConnection:
        if target.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        named: dict[str, Any] = {"ssl": self._tls, "server_hostname": target.host} if target.tls else {}
        try:
            async with asyncio.timeout(CONNECT):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: UpstreamConnection(target), target.host, target.port, **named
                )
        except ssl.SSLError as error:
            raise broken(f"gave no certificate that could be checked ({error.reason})") from None
        except (OSError, TimeoutError):
            raise broken("cannot be reached") from None
        return connection

    def _target(self, url: str, key: str) -> UpstreamTarget:
        parts = urlsplit(url)
        tls, host = parts.scheme == "https", parts.hostname or ""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}", "Accept: */*",
                 f"User-Agent: rung/{__version__}", "Content-Type: application/json"]  # fmt: skip
        lines += [f"Authorization: Bearer {key}"] if key else []
        head = "\r\n".join([*lines, "Content-Length: "]).encode("latin-1")
        found = self._targets[url, key] = UpstreamTarget(host, parts.port or (443 if tls else 80), tls, head)
        return found


async def _sent(connection: UpstreamConnection, body: bytes) -> UpstreamConnection:
    try:
        await connection.send(body)
    except BaseException:
        connection.close()
        raise
    return connection
