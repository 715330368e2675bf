"""A served program asked over HTTP, as its callers ask it: for the parity check. Standard library only."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from rung.core.codec import decode
from rung.core.errors import InputError
from rung.core.types import Answer, Failure, Input


class Remote:
    """The program ``id`` behind ``url`` (with its /v1). An async context manager; callable like a program."""

    def __init__(self, url: str, id: str, *, key: str = "", timeout: float = 600.0, concurrency: int = 32) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"got address {url!r}, expected http(s)://host[:port]/v1", remedy="correct the address")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._where = (parts.hostname, parts.port)
        self._path = parts.path.rstrip("/") + "/chat/completions"
        self._id, self._key, self._timeout = id, key, timeout
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="rung-remote")

    async def __aenter__(self) -> Remote:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, input: Input) -> Answer:
        """The answer as the server tells it; an error object is the failure that it stands for."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, input)

    def _ask(self, input: Input) -> Answer:
        # One field is asked as any chat client asks; several go in the field that is made for them.
        texts = list(input.values())
        body: dict[str, Any] = {"model": self._id, "rung": True}
        body["messages"] = [{"role": "user", "content": texts[0] if len(texts) == 1 else ""}]
        if len(texts) != 1:
            body["input"] = dict(input)
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        link = self._kind(*self._where, timeout=self._timeout)
        try:
            link.request("POST", self._path, json.dumps(body).encode(), headers)
            status, text = _read(link)
        except (OSError, http.client.HTTPException) as error:
            return Answer(None, failure=Failure("model", f"no answer over HTTP: {error}"))
        finally:
            link.close()
        try:
            return _answer(status, json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            return Answer(None, failure=Failure("program", f"HTTP {status} with a body that is not the wire format"))


def _read(link: http.client.HTTPConnection) -> tuple[int, bytes]:
    response = link.getresponse()
    return response.status, response.read()


def _answer(status: int, document: Mapping[str, Any]) -> Answer:
    extension = document.get("rung")
    if status != 200:
        message = document["error"]["message"]
        if extension is not None and extension["failure"] is not None:
            return Answer(None, raw=extension["raw"], failure=decode(Failure, extension["failure"]))
        return Answer(None, failure=Failure("program", f"HTTP {status}: {message}"))
    if extension is None:
        return Answer(None, failure=Failure("program", "the server does not give the parsed output (--no-details)"))
    text = document["choices"][0]["message"]["content"]
    output = extension["output"]
    if text != (output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)):
        return Answer(None, raw=text, failure=Failure("program", "the text sent is not the program's output"))
    return Answer(output, raw=extension["raw"], confidence=extension["confidence"])
