"""Our tools as an MCP server: what other people's agents call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rung.agents.tools.function import demand
from rung.core.errors import InputError, RungError
from rung.core.parts.problem import nearest
from rung.core.protocols import Closing, Tool
from rung.core.system.extras import require


def mcp_server(tools: Sequence[Tool], seconds: float = 60.0) -> Any:
    """A server (``mcp.server.Server``) with these tools. A call that fails is answered with the error's sentence."""
    require("mcp", "mcp", "serving tools over MCP")
    import mcp_types as types
    from mcp.server.lowlevel import Server

    known = {tool.name: tool for tool in tools}
    if len(known) < len(tools):
        raise InputError("two tools have one name", remedy="leave one out", code="tool-twice")

    async def list_tools(_: Any, __: Any) -> Any:
        listed = [
            types.Tool(
                name=tool.name,
                description=tool.description,
                input_schema=dict(tool.schema),
                annotations=types.ToolAnnotations(
                    read_only_hint=tool.effect == "pure", idempotent_hint=tool.effect != "once"
                ),
            )
            for tool in tools
        ]
        return types.ListToolsResult(tools=listed)

    async def call_tool(_: Any, asked: Any) -> Any:
        tool = known.get(asked.name)
        if tool is None:
            return _told(f"there is no tool {asked.name!r}: {nearest(asked.name, known)}", failed=True)
        try:
            async with asyncio.timeout(seconds):
                arguments = dict(asked.arguments or {})
                demand(tool.name, tool.schema, arguments)
                return _told(await tool.call(arguments, key=""))
        except RungError as error:
            return _told(f"{error.message}{f' ({error.remedy})' if error.remedy else ''}", failed=True)
        except TimeoutError:
            return _told(f"{tool.name} gave nothing within {seconds:g} s", failed=True)
        except Exception as error:  # a defect of one tool is no reason to end the server
            return _told(f"{tool.name} failed: {type(error).__name__}: {error}", failed=True)

    def _told(text: str, *, failed: bool = False) -> Any:
        clean = text.encode("utf-8", "replace").decode()
        return types.CallToolResult(content=[types.TextContent(type="text", text=clean)], is_error=failed)

    from rung.core import __version__

    return Server("rung", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)


async def serve_stdio(tools: Sequence[Tool]) -> None:
    """Serve over standard input and output until the client goes away."""
    server = mcp_server(tools)
    from mcp.server.stdio import stdio_server

    try:
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())
    finally:
        for tool in tools:
            if isinstance(tool, Closing):
                await tool.close()


def web_app(tools: Sequence[Tool]) -> Any:
    """The same as an ASGI application at ``/mcp`` (Streamable HTTP)."""
    return mcp_server(tools).streamable_http_app()
