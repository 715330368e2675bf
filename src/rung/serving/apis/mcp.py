"""/mcp: what is served as tools that other people's agents call (Model Context Protocol over Streamable HTTP, without
sessions).

Each call is asked for like a chat request of the same caller: under its key, its limits and its budget. A caller is
shown the tools that its key may ask.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rung.agents.tools.net.serve import mcp_server
from rung.core.errors import ModelError
from rung.core.protocols import Effect, Tool
from rung.serving.access.call import RequestCall, current
from rung.serving.apis.wire.reply import to_bytes
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.endpoints.program import ProgramEndpoint
from rung.serving.gateway.chain import Chain
from rung.serving.http.chat import Offer

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

Ask = Callable[[bytes, RequestCall], Awaitable[tuple[int, dict[str, Any]]]]

LONGEST = 200_000
"""Characters of a message."""


@dataclass(frozen=True, slots=True)
class EndpointTool:
    """An endpoint as a tool: a message, and the answer to it."""

    name: str
    id: str
    effect: Effect
    ask: Ask
    returns: Literal["trusted", "untrusted"] = "untrusted"
    volatile: bool = True

    @property
    def description(self) -> str:
        return f"Ask {self.id}: give it a message, get its answer."

    @property
    def schema(self) -> Mapping[str, Any]:
        message = {"type": "string", "minLength": 1, "maxLength": LONGEST, "description": "What is asked."}
        return {
            "type": "object",
            "properties": {"message": message},
            "required": ["message"],
            "additionalProperties": False,
        }

    async def call(self, arguments: Mapping[str, Any], *, key: str) -> str:
        body = {"model": self.id, "messages": [{"role": "user", "content": arguments["message"]}]}
        status, answer = await self.ask(to_bytes(body), current())
        if status != 200:
            raise ModelError(str(answer["error"]["message"]), code=str(answer["error"].get("code") or status))
        return str(answer["choices"][0]["message"]["content"] or "")


class OfferedTools(Sequence[Tool]):
    """All tools; the caller at hand sees those that it may ask."""

    def __init__(self, endpoints: Mapping[str, Endpoint], ask: Ask) -> None:
        names: dict[str, str] = {}
        for id in endpoints:
            name = re.sub(r"[^A-Za-z0-9_-]", "_", id)[:60] or "model"
            names[name if name not in names else f"{name}_{len(names)}"] = id
        self._tools = [
            EndpointTool(name, id, "once" if _acts(endpoints[id]) else "pure", ask) for name, id in names.items()
        ]

    def __len__(self) -> int:
        return len(self._tools)

    def __getitem__(self, at: Any) -> Any:
        return self._tools[at]

    def __iter__(self) -> Iterator[Tool]:
        caller = current().caller
        return iter([tool for tool in self._tools if caller.may_ask(tool.id)])


def _acts(endpoint: Endpoint) -> bool:
    """Whether asking may change the world: an agent is behind it."""
    if isinstance(endpoint, Chain):
        return any(_acts(member.endpoint) for member in endpoint.members)
    return isinstance(endpoint, ProgramEndpoint) and endpoint.opened.program.kind == "agent"


class McpApp:
    """The application at /mcp. The library is loaded by the first request, in a thread; what is offered is looked at
    anew when a gateway's file was read again."""

    path = "/mcp"

    def __init__(self, offer: Offer, ask: Ask) -> None:
        self.offer, self._ask = offer, ask
        self._of: Mapping[str, Endpoint] | None = None
        self._app: Any = None
        self._holding: asyncio.Task[None] | None = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["rung.path"] = self.path
        if self._of is not self.offer.endpoints:
            async with self._making:
                if self._of is not self.offer.endpoints:
                    await self._make(self.offer.endpoints)
        await self._app(scope, receive, send)

    async def close(self) -> None:
        if self._holding is not None:
            self._holding.cancel()
            with suppress(asyncio.CancelledError):
                await self._holding

    async def _make(self, endpoints: Mapping[str, Endpoint]) -> None:
        # In a thread without this request's context: the server knows the tools of all callers.
        tools = OfferedTools(endpoints, self._ask)
        server = await asyncio.get_running_loop().run_in_executor(None, mcp_server, tools)
        from mcp.server.transport_security import TransportSecuritySettings

        # Hosts and origins were looked at by the server's own door.
        safe = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        app = server.streamable_http_app(stateless_http=True, json_response=True, transport_security=safe)
        ready = asyncio.Event()

        async def hold() -> None:
            async with server.session_manager.run():
                ready.set()
                await asyncio.Event().wait()

        await self.close()
        self._holding = asyncio.create_task(hold())
        await ready.wait()
        self._app, self._of = app, endpoints
