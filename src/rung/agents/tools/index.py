"""``index:NAME``: search a collection of documents (``rung index``); every passage names its document."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

from pydantic import Field

from rung.agents.tools.function import FunctionTool, tool
from rung.core.errors import InputError
from rung.core.settings import Settings
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.folders import find
from rung.retrieval.rank.options import SearchOptions

PASSAGE = 1200
"""Characters of a passage."""
_SPACE = re.compile(r"\s")


def open_index(target: str = "") -> FunctionTool:
    """``target`` is the collection's name (``rung index list``)."""
    if not target:
        raise InputError("the tool index needs a collection", remedy="write index:NAME (rung index list)")
    collection = Collection.open(find(target, Settings().home))

    def look(query: str, count: int) -> str:
        hits = collection.search(query, SearchOptions(k=count))
        return (
            "\n".join(
                f"[{number}] {hit.passage.document} {hit.passage.start}-{hit.passage.end}: {_line(hit.passage.text)}"
                for number, hit in enumerate(hits, 1)
            )
            or "nothing was found"
        )

    async def index_search(
        query: Annotated[str, Field(min_length=1, max_length=2000)], count: Annotated[int, Field(ge=1, le=20)] = 5
    ) -> str:
        """Search the documents at hand. Each passage has a number, and the document and the characters that it is, to
        cite."""
        return await asyncio.to_thread(look, query, count)

    return tool(index_search, returns="untrusted")


def _line(text: str) -> str:
    """A passage on one line, character by character, so that places in it are places in the document."""
    return _SPACE.sub(" ", text[:PASSAGE])
