"""``web:URL``: search the web through a SearXNG server (its JSON form), and read what was found."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import Field

from rung.agents.tools.function import FunctionTool, tool
from rung.agents.tools.net.address import Reach, fetch, place
from rung.core.errors import InputError, RungError
from rung.documents import read, scan

SNIPPET = 400
PART = 3000
"""Characters of a page that are shown at once."""
_KINDS = {"text/html": ".html", "application/xhtml+xml": ".html", "text/plain": ".txt", "text/markdown": ".md"}
_URL = {"x-seen": r"/https?:\/\/[^\s<>\"']+[^\s<>\"'.,;:!?)]/"}


def open_web(target: str = "", *, seconds: float = 20.0) -> tuple[FunctionTool, FunctionTool]:
    """``target`` is the server's address, such as ``http://127.0.0.1:8888``; it may be private, as the person wrote it
    down. Two tools: one searches, one reads a page whose address was seen."""
    if not target:
        raise InputError("the tool web needs a SearXNG server", remedy="write web:http://127.0.0.1:8888")
    place(target)
    base, reach = target.rstrip("/"), Reach.of(target)

    async def web_search(
        query: Annotated[str, Field(min_length=1, max_length=400)], count: Annotated[int, Field(ge=1, le=20)] = 5
    ) -> str:
        """Search the web. Each result has a number, a title, its address to cite and a piece of its text."""
        return await asyncio.to_thread(_search, base, reach, query, count, seconds)

    async def web_read(
        url: Annotated[str, Field(max_length=2000, json_schema_extra=_URL)], part: Annotated[int, Field(ge=1)] = 1
    ) -> str:
        """Read a page that was found, part by part. Cite it by its address."""
        return await asyncio.to_thread(_read, url, reach, part, seconds)

    return (
        tool(web_search, returns="untrusted", volatile=True),
        tool(web_read, returns="untrusted"),
    )


def _read(url: str, reach: Reach, part: int, seconds: float) -> str:
    page = fetch(url, reach, seconds=seconds)
    if page.status != 200:
        raise RungError(f"{url[:200]} answered {page.status}", code="unreachable")
    kind = page.headers.get("content-type", "text/html").partition(";")[0].strip().lower()
    if kind not in _KINDS:
        raise RungError(f"{url[:200]} is {kind[:80]}, no text", remedy="read another result", code="no-text")
    text = _text(page.body, _KINDS[kind]).strip()
    parts = [text[at : at + PART] for at in range(0, len(text), PART)] or ["(no text)"]
    if part > len(parts):
        raise RungError(f"{url[:200]} has {len(parts)} parts, got part {part}", code="no-part")
    return f"<{page.url}> part {part} of {len(parts)}\n{parts[part - 1]}"


def _text(body: bytes, suffix: str) -> str:
    """The text of a page, read by the process that reads documents, with its bounds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"page{suffix}"
        path.write_bytes(body)
        return "\n".join(document.text for source in scan(path) for document in read(source, []))


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
