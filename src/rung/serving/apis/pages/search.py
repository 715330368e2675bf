"""Collections searched over HTTP: a page for people, JSON for programs, both under the server's keys and limits.

Collections are opened once and read by many threads while another process builds them; one that was dropped and built
anew under its name is opened again. What stands in documents is data: the page puts it in as text, and its policy lets
no script run but the page's own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, get_args
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from rung.core.errors import InputError, RungError
from rung.core.types import Hit
from rung.retrieval.collection.shared import Collections
from rung.retrieval.filter.text import read
from rung.retrieval.rank.fuse import Fusion
from rung.retrieval.rank.options import Mode, SearchOptions
from rung.serving.apis.pages.page import SAFE, read_page
from rung.serving.apis.wire.refused import Refused
from rung.serving.http.limits import Limits, RequestQueue

logger = logging.getLogger("rung.serving")
T = TypeVar("T")

MOST = 100
"""Passages that one search may ask for."""
LONGEST = 10_000
"""Characters of a query."""
AROUND = 20_000
"""Characters of a document shown before and after a passage."""
RERANKERS = ("words", "sentences")
"""What a caller may name: another reranker would let anybody have weights loaded."""
_ASKED = ("no-vectors", "unsupported-filter", "filter-too-deep")
"""Codes of errors that are about what the caller asked for."""

_SEARCH = ("index", "q", "mode", "k", "where", "fusion", "weight", "diversity", "rerank")


def _away(name: str, error: RungError) -> Refused:
    """What is wrong with the files is for the log: it names paths of this machine."""
    logger.warning("index %s: %s", name, error.message)
    said = f"the index {name} cannot be searched at the moment; the server's log says why"
    return Refused(503, said, code="index_unavailable", retry_after=2)


def _told(name: str, error: RungError) -> Refused:
    """What the caller asked for and cannot have is said; anything else names files, hosts or weights of this
    machine."""
    if error.code in _ASKED:
        return Refused(400, error.message, code="invalid_search", again=False)
    return _away(name, error)


# ---------------------------------------------------------------- what is asked


def read_search(asked: Mapping[str, str]) -> tuple[str, SearchOptions]:
    """Query and Search from a request's parameters. Raises Refused that names the parameter."""
    _known(asked, _SEARCH)
    query = asked.get("q", "")
    if not query.strip():
        raise _wrong("q", "got no query; ask for instance: /v1/search?index=NAME&q=words")
    if len(query) > LONGEST:
        raise _wrong("q", f"the query has {len(query):,} characters, at most {LONGEST:,} are searched")
    rerank = asked.get("rerank") or None
    if rerank is not None and rerank not in RERANKERS:
        raise _wrong("rerank", f"got rerank {rerank[:100]!r}, expected one of {', '.join(RERANKERS)}")
    condition = None
    if (written := asked.get("where", "")).strip():
        try:
            condition = read(written)
        except InputError as error:
            raise _wrong("where", error.message) from None
    k = _number(asked, "k", 1, MOST, whole=True)
    options: dict[str, Any] = {}
    for name, known in (("mode", get_args(Mode)), ("fusion", get_args(Fusion))):
        if given := asked.get(name):
            if given not in known:
                raise _wrong(name, f"got {name} {given[:100]!r}, expected one of {', '.join(known)}")
            options[name] = given
    return query, SearchOptions(
        k=10 if k is None else int(k),
        where=condition,
        weight=_number(asked, "weight", 0, 1),
        diversity=_number(asked, "diversity", 0, 1),
        rerank=rerank,
        **options,
    )


def _known(asked: Mapping[str, str], names: tuple[str, ...]) -> None:
    for name in asked:
        if name not in names:
            raise _wrong(name[:100], f"there is no parameter {name[:100]!r}; there are: {', '.join(names)}")


def _number(asked: Mapping[str, str], name: str, low: float, high: float, *, whole: bool = False) -> float | None:
    given = asked.get(name, "").strip()
    if not given:
        return None
    try:
        value = int(given) if whole else float(given)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise _wrong(name, f"got {name} {given[:40]!r}, expected {kind} from {low:g} to {high:g}")
    return value


def _wrong(name: str, said: str) -> Refused:
    return Refused(400, said, param=name, code="invalid_search", again=False)


# ---------------------------------------------------------------- what is answered


def _hit(index: str, hit: Hit) -> dict[str, Any]:
    passage = hit.passage
    place = {"index": index, "id": passage.document, "start": passage.start, "end": passage.end}
    return {
        "id": passage.id,
        "document": passage.document,
        "start": passage.start,
        "end": passage.end,
        "text": passage.text,
        "score": hit.score,
        "parts": dict(hit.parts),
        "highlights": [{"start": span.start, "end": span.end} for span in hit.highlights],
        "metadata": dict(passage.metadata),
        "link": f"/search?{urlencode(place)}#passage",
    }


def _search(shelf: Collections, index: str, query: str, search: SearchOptions) -> dict[str, Any]:
    try:
        with shelf.use(index) as collection:
            started = time.perf_counter()
            hits = collection.search(query, search)
            seconds = time.perf_counter() - started
    except RungError as error:
        raise _told(index, error) from None
    found = [_hit(index, hit) for hit in hits]
    return {
        "object": "search",
        "index": index,
        "query": query,
        "mode": search.mode,
        "seconds": seconds,
        "hits": found,
    }


def _document(shelf: Collections, index: str, id: str, start: int, end: int) -> dict[str, Any]:
    try:
        with shelf.use(index) as collection:
            document = collection.document(id)
    except RungError as error:
        raise _told(index, error) from None
    if document is None:
        raise Refused(404, f"the index {index} has no document {id[:200]!r}", param="id", code="document_not_found")
    length = len(document.text)
    first = max(0, min(start, length) - AROUND)
    last = min(length, max(start, end) + AROUND)
    return {
        "object": "document",
        "index": index,
        "id": id,
        "start": first,
        "end": last,
        "length": length,
        "text": document.text[first:last],
        "metadata": dict(document.metadata),
    }


def _index(shelf: Collections, name: str) -> dict[str, Any]:
    """What there is to say of a collection; nulls while it is not there."""
    said: dict[str, Any] = {"id": name, "object": "index", "documents": None, "passages": None, "embedder": None}
    try:
        with shelf.use(name) as collection:
            stats = collection.stats()
    except RungError:
        return said
    return {**said, "documents": stats.documents, "passages": stats.passages, "embedder": stats.embedder or None}


# ---------------------------------------------------------------- the addresses


def add_search(app: FastAPI, shelf: Collections, queue: RequestQueue, limits: Limits) -> ThreadPoolExecutor:
    """Put the page and its endpoints on the application. The returned threads are the caller's to shut down."""
    threads = ThreadPoolExecutor(min(8, limits.running), "rung-search")

    async def work(task: Callable[[], T]) -> T:
        """``task`` in a thread, in its turn and within the deadline; its errors as what the caller gets."""
        try:
            async with asyncio.timeout(limits.deadline), queue.turn():
                return await asyncio.get_running_loop().run_in_executor(threads, task)
        except TimeoutError:
            said = f"no complete answer within {limits.deadline:g} s"
            raise Refused(504, said, code="deadline_exceeded", again=False) from None

    def named(asked: Mapping[str, str]) -> str:
        name = asked.get("index", "")
        if not name and len(shelf.names) == 1:
            return shelf.names[0]
        if name not in shelf.names:
            said = f"there is no index {name[:100]!r}; there are: {', '.join(shelf.names)}"
            raise Refused(404, said, param="index", code="index_not_found")
        return name

    @app.get("/search", response_model=None)
    async def page() -> Response:
        """The search page."""
        text, headers = read_page("search.html")
        return Response(text, media_type="text/html; charset=utf-8", headers=headers)

    @app.get("/v1/indexes", response_model=None)
    async def indexes() -> Response:
        """The collections that can be searched."""
        found = await work(lambda: [_index(shelf, name) for name in shelf.names])
        return JSONResponse({"object": "list", "data": found}, headers=SAFE)

    @app.get("/v1/search", response_model=None, openapi_extra=_parameters(_SEARCH))
    async def search(request: Request) -> Response:
        """The best passages for a query."""
        asked = dict(request.query_params)
        query, wanted = read_search(asked)
        found = await work(partial(_search, shelf, named(asked), query, wanted))
        return JSONResponse(found, headers=SAFE)

    @app.get("/v1/document", response_model=None, openapi_extra=_parameters(("index", "id", "start", "end")))
    async def document(request: Request) -> Response:
        """A document's text around a passage."""
        asked = dict(request.query_params)
        _known(asked, ("index", "id", "start", "end"))
        start = int(_number(asked, "start", 0, 2**40, whole=True) or 0)
        end = int(_number(asked, "end", 0, 2**40, whole=True) or start)
        if not asked.get("id"):
            raise _wrong("id", "got no document id; ask for instance: /v1/document?index=NAME&id=ID")
        found = await work(partial(_document, shelf, named(asked), asked["id"], start, end))
        return JSONResponse(found, headers=SAFE)

    return threads


def _parameters(names: tuple[str, ...]) -> dict[str, Any]:
    kinds = {"k": "integer", "start": "integer", "end": "integer", "weight": "number", "diversity": "number"}
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": name in ("q", "id"),
                "schema": {"type": kinds.get(name, "string")},
            }
            for name in names
        ]
    }
