"""The HTTP protocol of a connection, with limits that hold before anything is read: size of the head, and time.

uvicorn's own parser class keeps whatever headers, trailers and chunk extensions come, for as long as they come. Here a
head of more than HEAD bytes is refused (431), a request whose head does not come within ``head_seconds`` is closed
(408), and so is a connection on which a body goes on after its answer was given.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD = 128 * 1024
"""Bytes of a request's first line and headers (a search's query of 10,000 characters has up to 90,000)."""

LINGER = 5.0
"""Seconds in which the rest of a body may come whose answer was given without it: a client may read only once it has
sent all."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. ``head_seconds``: how long a request's head may take, from the connection or from its first
    byte."""

    head_seconds = 15.0

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._size = 0  # of the head that is being read, and of the trailers after it
        self._unparsed = 0  # bytes since anything came of them: an endless header, chunk extension or trailer
        self._begun = False
        self._deadline = (
            math.inf
        )  # when the connection is closed; looked at now and then, since most requests end at once
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.time() + self.head_seconds
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD and not self.transport.is_closing():
            self._size = HEAD + 1
            self.send_400_response("")
        complete = self.cycle is not None and self.cycle.response_complete
        if (
            complete
            and self._deadline == math.inf
            and self.timeout_keep_alive_task is None
            and not self.transport.is_closing()
        ):
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._size = self._unparsed = 0
        self._begun = True
        self._deadline = self.loop.time() + self.head_seconds

    def on_url(self, url: bytes) -> None:
        self._add(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._add(len(name) + len(value))
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._deadline = math.inf
        self._begun = False
        self._unparsed = 0
        super().on_headers_complete()
        if self.cycle is not None and getattr(self.server_state, "draining", False):
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if not self._begun:
            self._deadline = math.inf
        super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing here speaks by websocket: the request is answered as any other, and uvicorn has nothing to advise."""

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle is not None and self.cycle.response_complete and self.cycle.more_body:
            self._deadline = self.loop.time() + LINGER

    def last_answer(self) -> None:
        """Close after the answer that is under way; a connection that is idle may still bring a request."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def timeout_keep_alive_handler(self) -> None:
        if self.transport.get_write_buffer_size():  # a reader that stopped reading: it would never be flushed
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """What cannot be read as HTTP, or is too large: OpenAI's error object, and the end of the connection."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
        elif self._size > HEAD:
            self._refuse(
                431, f"the request's first line and headers are larger than {HEAD:,} bytes", "headers_too_large"
            )
        else:
            self._refuse(400, "this is not an HTTP request", "invalid_http")

    def _add(self, size: int) -> None:
        self._size += size
        if self._size > HEAD:
            raise ValueError("the head is too large")  # the parser stops, and asks for ``send_400_response``

    def _refuse(self, status: int, message: str, code: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = json.dumps({"error": error}).encode()
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self._deadline = math.inf
        self.transport.close()

    def _watch(self) -> None:
        if self.transport.is_closing():
            return
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_later(min(LINGER, self.head_seconds / 3), self._watch)
        elif self._begun and (self.cycle is None or self.cycle.response_complete):
            self._refuse(408, f"the headers did not come within {self.head_seconds:g} s", "headers_timeout")
        else:
            self.transport.abort()
