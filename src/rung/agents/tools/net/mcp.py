"""``mcp:URL`` and ``mcp:COMMAND ...``: the tools of a server that speaks the Model Context Protocol.

What a server says of its tools is untrusted. Their definitions are pinned by a digest when they are listed and compared
before every call: a server that changes one afterwards is not called. The connection lives in a thread of its own;
every wait has an end.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from rung.agents.tools.function import demand
from rung.core.codec import digest
from rung.core.errors import InputError, RungError
from rung.core.protocols import Effect
from rung.core.system.extras import require
from rung.foundations.text.words import visible

MOST, DEFINITION, SHOWN = 200, 64_000, 16_000
"""Tools of a server, bytes of a tool's definition, and characters of an answer."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
T = TypeVar("T")


class Link:
    """A connection to a server, opened on the first use and kept until ``close``."""

    def __init__(self, server: Any, title: str, seconds: float) -> None:
        self._room = require("mcp", "mcp", "the tool mcp")
        self.title, self.seconds = title, seconds
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._ended: asyncio.Event | None = None
        self._client: Any = None
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        threading.Thread(target=self._live, name="mcp", daemon=True).start()
        if not self._ready.wait(seconds) or self._failed is not None:
            self.close()
            raise self._dead("connect", self._failed or TimeoutError())

    def _live(self) -> None:
        try:
            self._loop.run_until_complete(self._hold())
        except BaseException as error:
            self._failed = error
        finally:
            self._ready.set()

    async def _hold(self) -> None:
        self._ended = asyncio.Event()
        async with self._room.Client(self._server, read_timeout_seconds=self.seconds) as client:
            self._client = client
            self._ready.set()
            await self._ended.wait()
            self._client = None

    def ask(self, work: Coroutine[Any, Any, T], what: str) -> T:
        """Wait for one exchange. Raises RungError (code ``mcp``) when the server is gone, takes too long or answers
        nonsense."""
        if self._client is None:
            work.close()
            raise self._dead(what, self._failed or ConnectionError("the connection has ended"))
        waiting = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, self.seconds), self._loop)
        try:
            return waiting.result(self.seconds + 1)
        except BaseException as error:
            waiting.cancel()
            if not isinstance(error, Exception):
                raise
            raise self._dead(what, error) from None

    def _dead(self, what: str, error: BaseException) -> RungError:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        why = f"nothing came back within {self.seconds:g} s" if isinstance(error, TimeoutError) else str(error)[:300]
        return RungError(
            f"the MCP server {self.title} failed to {what}: {why or type(error).__name__}",
            remedy="see that the server runs, or leave the tool out",
            code="mcp",
        )

    def definitions(self) -> dict[str, dict[str, Any]]:
        """What the server says of each tool. Raises RungError (code ``mcp``) for too much or something that is no
        definition."""
        return self.ask(self._list(), "list its tools")

    async def _list(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        cursor: str | None = None
        for _ in range(MOST):
            page = await self._client.list_tools(cursor=cursor, cache_mode="bypass")
            for item in page.tools:
                found[item.name] = {"description": item.description or "", "schema": item.input_schema}
                if len(found) > MOST or len(str(found[item.name])) > DEFINITION:
                    raise ValueError(f"it has more than {MOST} tools, or one of more than {DEFINITION:,} characters")
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    def call(self, name: str, arguments: Mapping[str, Any], pinned: str) -> str:
        """A tool's answer. Raises InputError (code ``definition-changed``) when its definition is no longer the one
        pinned."""
        now = self.definitions().get(name)
        if now is None or digest(now) != pinned:
            raise InputError(
                f"the MCP server {self.title} has changed what {name} is since it was listed",
                remedy="look at it again (rung tool show), and open the tools anew",
                code="definition-changed",
            )
        result = self.ask(self._client.call_tool(name, dict(arguments)), f"call {name}")
        parts = [str(item.text) if getattr(item, "type", "") == "text" else f"({item.type})" for item in result.content]
        text = "\n".join(parts)[:SHOWN]
        if result.is_error:
            raise RungError(f"{name}: {text[:1000] or 'it failed'}", code="tool-failed")
        return text

    def close(self) -> None:
        if self._ended is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)


@dataclass(frozen=True)
class ServedTool:
    """One tool of a server; ``pinned`` is the digest of its definition as it was listed."""

    link: Link = field(repr=False)
    served: str
    name: str
    description: str
    schema: Mapping[str, Any]
    pinned: str
    effect: Effect
    volatile: bool = False
    returns: Literal["trusted", "untrusted"] = "untrusted"

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> str:
        """Raises InputError (code ``arguments``), before anything is sent, for arguments that the schema refuses."""
        demand(self.name, self.schema, arguments)
        return await asyncio.to_thread(self.link.call, self.served, arguments, self.pinned)

    async def close(self) -> None:
        self.link.close()


def open_mcp(
    target: str = "", *, pin: str = "", pure: Sequence[str] = (), keyed: Sequence[str] = (), seconds: float = 30.0
) -> tuple[ServedTool, ...]:
    """``target`` is a URL, or a command line that serves on its standard input and output.

    ``pin``: the digest of all definitions (``rung tool show`` prints it); other ones are refused. ``pure`` and
    ``keyed``: tools that may be called again; what a server says of that is not believed, and all others are called
    once.
    """
    room = require("mcp", "mcp", "the tool mcp")
    words = shlex.split(target)
    if not words:
        raise InputError("the tool mcp needs a server", remedy="write mcp:http://127.0.0.1:8000/mcp or mcp:COMMAND ...")
    server: Any = target
    if not target.startswith(("http://", "https://")):
        from mcp.client.stdio import stdio_client

        quiet = open(os.devnull, "w")  # noqa: SIM115  the server's for as long as it lives
        server = stdio_client(room.StdioServerParameters(command=words[0], args=words[1:]), errlog=quiet)
    return served_tools(Link(server, target[:80], seconds), pin=pin, pure=pure, keyed=keyed)


def served_tools(
    link: Link, *, pin: str = "", pure: Sequence[str] = (), keyed: Sequence[str] = ()
) -> tuple[ServedTool, ...]:
    """The tools that a connection has, checked and pinned."""
    definitions = link.definitions()
    whole = digest(definitions)
    if pin and whole != pin:
        link.close()
        raise InputError(
            f"the MCP server {link.title} says something else of its tools than what was pinned",
            remedy=f"look at them (rung tool show), then write pin: {whole}",
            code="definition-changed",
        )
    made = []
    for served, said in definitions.items():
        name = re.sub(r"\W+", "_", served, flags=re.ASCII).strip("_")[:64] or "tool"
        schema = said["schema"]
        if not isinstance(schema, dict) or schema.get("type") != "object":
            link.close()
            raise InputError(f"the MCP server {link.title}: the schema of {name} is no object", code="mcp")
        about = visible(_CONTROL.sub("", said["description"]))[:1000]
        effect: Effect = "pure" if served in pure else "keyed" if served in keyed else "once"
        made.append(ServedTool(link, served, name, about, schema, digest(said), effect))
    return tuple(made)


def pin_of(tools: Sequence[ServedTool]) -> str:
    """The digest under which ``open_mcp`` pins these tools of one server."""
    return digest(tools[0].link.definitions())
