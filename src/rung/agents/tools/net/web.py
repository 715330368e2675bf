"""``web:URL``: search the web through a SearXNG server (its JSON form)."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import Field

from rung.agents.tools.function import FunctionTool, tool
from rung.agents.tools.net.address import Reach, fetch, place
from rung.core.errors import InputError, RungError

SNIPPET = 400


def open_web(target: str = "", *, seconds: float = 20.0) -> FunctionTool:
    """``target`` is the server's address, such as ``http://127.0.0.1:8888``; it may be private, as the person wrote it down."""
    if not target:
        raise InputError("the tool web needs a SearXNG server", remedy="write web:http://127.0.0.1:8888")
    place(target)
    base, reach = target.rstrip("/"), Reach.of(target)

    async def web_search(
        query: Annotated[str, Field(min_length=1, max_length=400)], count: Annotated[int, Field(ge=1, le=20)] = 5
    ) -> str:
        """Search the web. Each result has a number, a title, its address to cite and a piece of its text."""
        return await asyncio.to_thread(_search, base, reach, query, count, seconds)

    return tool(web_search, returns="untrusted", volatile=True)


def _search(base: str, reach: Reach, query: str, count: int, seconds: float) -> str:
    page = fetch(f"{base}/search?{urlencode({'q': query, 'format': 'json'})}", reach, seconds=seconds)
    if page.status != 200:
        hint = "; its settings must allow the format json" if page.status == 403 else ""
        raise RungError(f"the search server answered {page.status}{hint}", code="unreachable")
    try:
        results = json.loads(page.body)["results"]
        found = [line for item in results if isinstance(item, dict) and (line := _line(item))][:count]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RungError("the search server's answer is no SearXNG JSON", code="unreachable") from None
    return "\n".join(f"[{number}] {line}" for number, line in enumerate(found, 1)) or "nothing was found"


def _line(item: dict[str, Any]) -> str:
    """A result as text; nothing for one whose address is no web address."""
    url = str(item.get("url") or "")
    try:
        place(url)
    except InputError:
        return ""
    title, text = (" ".join(str(item.get(name) or "").split()) for name in ("title", "content"))
    return f"{title[:200]} <{url[:500]}>\n{text[:SNIPPET]}".rstrip()
