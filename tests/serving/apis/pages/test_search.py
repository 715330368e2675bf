"""The search endpoints by HTTP, and the page in a real browser."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from rung.core.errors import InputError, MissingExtra, RungError, ServerError, StoreError
from rung.core.types import Document
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.shared import Collections
from rung.retrieval.rank.options import SearchOptions
from rung.serving.access.keys import Keys, hash_key
from rung.serving.apis.pages.search import AROUND, MOST
from rung.serving.http.limits import Limits
from tests.serving.browser import Browser, chromium
from tests.serving.loopback import endpoint, program, serving

pytestmark = pytest.mark.server

EVIL = '<script>document.title="pwned"</script><img src=x onerror="document.title=\'pwned\'">'
DOCUMENTS = [
    # A character beyond the first plane: JavaScript counts it twice, we once.
    Document("tents.md", f"The warranty of a tent is two years. 🏕 {EVIL} Tents are dry.", {"lang": "en", "year": 2021}),
    Document("otters.txt", "Otters hold hands while they sleep.", {"lang": "en", "year": 2019}),
    Document("zelte.md", "Die Garantie, warranty auf Englisch, gilt zwei Jahre.", {"lang": "de", "year": 2021}),
    Document("<b>&?#.txt", "Swifts sleep on the wing.", {"lang": "en", "tag": ["<i>birds</i>"]}),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Collection.create(tmp_path / "pets", embedder="static") as made:
        made.upsert(DOCUMENTS)
    return tmp_path / "pets"


@pytest.fixture
def shelf(folder: Path) -> Iterator[Collections]:
    shelf = Collections({"pets": folder})
    yield shelf
    shelf.close()


@asynccontextmanager
async def searching(
    shelf: Collections, *, keys: Keys | None = None, limits: Limits | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(indexes=shelf, keys=keys, limits=limits) as url,
        httpx.AsyncClient(base_url=url.removesuffix("/v1"), timeout=20) as link,
    ):
        yield link


async def ask(link: httpx.AsyncClient, **asked: Any) -> Any:
    reply = await link.get("/v1/search", params=asked)
    assert reply.status_code == 200, reply.text
    return reply.json()


# ---------------------------------------------------------------- what is answered


@pytest.mark.parametrize("mode", ["hybrid", "dense", "keyword"])
async def test_hits_are_those_of_the_collection(shelf: Collections, folder: Path, mode: Any) -> None:
    with Collection.open(folder) as collection:
        expected = collection.search("warranty of tents", SearchOptions(mode=mode, k=3))
    async with searching(shelf) as link:
        found = await ask(link, q="warranty of tents", index="pets", mode=mode, k=3)
    assert (found["index"], found["mode"]) == ("pets", mode)
    assert [hit["id"] for hit in found["hits"]] == [hit.passage.id for hit in expected]
    first, known = found["hits"][0], expected[0]
    assert (first["document"], first["score"], first["parts"]) == ("tents.md", known.score, dict(known.parts))
    assert first["metadata"] == {"lang": "en", "year": 2021}
    assert first["text"] == DOCUMENTS[0].text[first["start"] : first["end"]]
    words = {first["text"][span["start"] : span["end"]] for span in first["highlights"]}
    assert words == {"warranty", "tent", "Tents"}


async def test_options_reach_the_search(shelf: Collections) -> None:
    async with searching(shelf) as link:
        german = await ask(link, q="warranty", where="lang=de")
        assert [hit["document"] for hit in german["hits"]] == ["zelte.md"]
        assert len((await ask(link, q="sleep", k=2))["hits"]) == 2
        ranked = await ask(link, q="warranty of a tent", rerank="words")
        assert all("rerank" in hit["parts"] for hit in ranked["hits"])
        alone = await ask(link, q="warranty", mode="keyword", diversity=0.5)
        assert {hit["document"] for hit in alone["hits"]} == {"tents.md", "zelte.md"}
        mixed = await ask(link, q="warranty", fusion="weighted", weight=1)
        assert mixed["hits"][0]["score"] >= mixed["hits"][-1]["score"]
        assert (await ask(link, q="xyzzy", mode="keyword"))["hits"] == []
        assert (await ask(link, q="\ud7ff\x00 ' \" ; DROP TABLE", k=1))["object"] == "search"


@pytest.mark.parametrize(
    ("asked", "status", "param", "said"),
    [
        ({}, 400, "q", "got no query"),
        ({"q": "  "}, 400, "q", "got no query"),
        ({"q": "x" * 10_001}, 400, "q", "10,001 characters"),
        ({"q": "x", "index": "nowhere"}, 404, "index", "there are: pets"),
        ({"q": "x", "k": "many"}, 400, "k", f"whole number from 1 to {MOST}"),
        ({"q": "x", "k": "0"}, 400, "k", "got k '0'"),
        ({"q": "x", "k": "101"}, 400, "k", "got k '101'"),
        ({"q": "x", "diversity": "nan"}, 400, "diversity", "a number from 0 to 1"),
        ({"q": "x", "weight": "1e999"}, 400, "weight", "a number from 0 to 1"),
        ({"q": "x", "mode": "magic"}, 400, "mode", "one of hybrid, dense, keyword"),
        ({"q": "x", "fusion": "magic"}, 400, "fusion", "one of adaptive"),
        ({"q": "x", "rerank": "sentences:/etc/passwd"}, 400, "rerank", "one of words, sentences"),
        ({"q": "x", "where": "year>"}, 400, "where", "expected a value"),
        ({"q": "x", "filter": "a=b"}, 400, "filter", "there is no parameter 'filter'"),
    ],
)
async def test_what_cannot_be_searched_is_refused_with_the_parameter(
    shelf: Collections, asked: dict[str, str], status: int, param: str, said: str
) -> None:
    async with searching(shelf) as link:
        reply = await link.get("/v1/search", params=asked)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (status, param)
    assert said in error["message"]


async def test_a_hit_leads_to_its_place_in_the_document(tmp_path: Path) -> None:
    text = (
        "".join(f"Sentence {n} is about nothing at all. " for n in range(4000))
        + "Here sleeps the quokka. "
        + "End. " * 9000
    )
    with Collection.create(tmp_path / "long", embedder=None) as made:
        made.upsert([Document("a long/one?.txt", text, {"lang": "en"})])
    shelf = Collections({"long": tmp_path / "long"})
    async with searching(shelf) as link:
        hit = (await ask(link, q="quokka", mode="keyword", k=1))["hits"][0]
        address = urlsplit(hit["link"])
        assert (address.path, address.fragment) == ("/search", "passage")
        place = {name: values[0] for name, values in parse_qs(address.query).items()}
        shown = (await link.get("/v1/document", params=place)).json()
        assert shown["id"] == "a long/one?.txt"
        assert shown["length"] == len(text)
        assert shown["text"] == text[shown["start"] : shown["end"]]
        assert text[hit["start"] : hit["end"]] == hit["text"]
        assert (hit["start"] - shown["start"], shown["end"] - hit["end"]) == (AROUND, AROUND)
        missing = await link.get("/v1/document", params={"id": "none"})
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "document_not_found")
    shelf.close()


async def test_indexes_are_listed_beside_programs(shelf: Collections) -> None:
    async with serving(endpoint(program()), indexes=shelf) as url, httpx.AsyncClient(base_url=url) as link:
        assert (await link.get("/models")).json()["data"][0]["id"] == "rung/echo"
        known = (await link.get("/indexes")).json()["data"]
        said = await link.post(
            "/chat/completions", json={"model": "rung/echo", "messages": [{"role": "user", "content": "hi"}]}
        )
    assert known == [{"id": "pets", "object": "index", "documents": 4, "passages": 4, "embedder": "static"}]
    assert said.json()["choices"][0]["message"]["content"] == "hi"


# ---------------------------------------------------------------- who may ask


async def test_documents_are_data_and_only_our_script_runs(shelf: Collections) -> None:
    async with searching(shelf) as link:
        page = await link.get("/search", params={"q": EVIL})
        reply = await link.get("/v1/search", params={"q": "tent"})
    assert EVIL not in page.text  # nothing that was asked or found is written into the page
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"].startswith("'sha256-")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.text.count("<script") == 1
    assert "://" not in page.text  # nothing is loaded from elsewhere
    assert EVIL in reply.json()["hits"][0]["text"]
    assert reply.headers["content-type"] == "application/json"
    for answer in (page, reply):
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_keys_guard_what_is_in_documents(shelf: Collections) -> None:
    async with searching(shelf, keys=Keys([hash_key("secret")])) as link:
        page = await link.get("/search")
        assert page.status_code == 200
        assert "pets" not in page.text  # the page itself tells nothing
        for path in ("/v1/search?q=tent", "/v1/document?id=tents.md", "/v1/indexes"):
            assert (await link.get(path)).status_code == 401
            assert (await link.get(path, headers={"authorization": "Bearer secret"})).status_code == 200


async def test_without_keys_only_this_machine_is_answered(shelf: Collections) -> None:
    async with searching(shelf) as link:
        for path in ("/search", "/v1/search?q=tent"):
            assert (await link.get(path, headers={"host": "evil.example"})).status_code == 403


async def test_searches_take_their_turn(shelf: Collections, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on = threading.Event(), threading.Event()
    original = Collection.search

    def slow(self: Collection, query: str, search: SearchOptions) -> Any:
        entered.set()
        assert go_on.wait(20)
        return original(self, query, search)

    monkeypatch.setattr(Collection, "search", slow)
    async with searching(shelf, limits=Limits(running=1, waiting=0, grace=1)) as link:
        first = asyncio.create_task(link.get("/v1/search", params={"q": "tent"}))
        await asyncio.to_thread(entered.wait, 20)
        busy = await link.get("/v1/search", params={"q": "tent"})
        assert (busy.status_code, busy.json()["error"]["code"]) == (503, "overloaded")
        assert (await link.get("/health")).status_code == 200  # the loop is free meanwhile
        go_on.set()
        assert (await first).status_code == 200


async def test_a_search_that_takes_too_long_ends(shelf: Collections, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(Collection, "search", lambda *_: go_on.wait(20) and [])
    async with searching(shelf, limits=Limits(deadline=0.2, grace=1)) as link:
        late = await link.get("/v1/search", params={"q": "tent"})
        go_on.set()
    assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")


# ---------------------------------------------------------------- while it is being built


@pytest.mark.slow
async def test_readers_go_on_while_the_index_is_rebuilt(shelf: Collections, folder: Path) -> None:
    """Each answer is of one generation: the documents of a round are all there or none of them."""
    rounds, stop = 12, asyncio.Event()

    def rebuild() -> None:
        with Collection.open(folder) as writer:
            for turn in range(rounds):
                writer.upsert(
                    [Document(f"zebra-{n}", f"zebra number {n} of round {turn}", {"round": turn}) for n in range(5)]
                )
                time.sleep(0.15)  # so that a busy machine's readers come between two rounds

    async def read(link: httpx.AsyncClient) -> list[set[int]]:
        seen = []
        while not stop.is_set():
            hits = (await ask(link, q="zebra", mode="keyword", k=20))["hits"]
            assert len(hits) in (0, 5)
            seen.append({hit["metadata"]["round"] for hit in hits})
        return seen

    async with searching(shelf) as link:
        readers = [asyncio.create_task(read(link)) for _ in range(3)]
        await asyncio.to_thread(rebuild)
        stop.set()
        seen = [found for reader in readers for found in await reader]
        last = await ask(link, q="zebra", mode="keyword", k=20)
    assert all(len(found) <= 1 for found in seen)
    assert len({next(iter(found), -1) for found in seen}) > 1  # they did see it change
    assert {hit["metadata"]["round"] for hit in last["hits"]} == {rounds - 1}


async def test_an_index_that_was_dropped_and_built_anew_is_opened_again(shelf: Collections, folder: Path) -> None:
    async with searching(shelf) as link:
        assert (await ask(link, q="tent"))["hits"]
        Collection.drop(folder)
        gone = await link.get("/v1/search", params={"q": "tent"})
        assert (gone.status_code, gone.json()["error"]["code"]) == (503, "index_unavailable")
        assert gone.headers["retry-after"] == "2"
        assert (await link.get("/v1/indexes")).json()["data"][0]["documents"] is None
        with Collection.create(folder, embedder=None) as made:
            made.upsert([Document("new.txt", "A tent of another kind.")])
        assert [hit["document"] for hit in (await ask(link, q="tent"))["hits"]] == ["new.txt"]


async def test_a_caller_is_never_told_a_path_of_the_machine(
    shelf: Collections, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [
        InputError(f"the weights in {folder} are gone", remedy=f"put them into {folder}"),
        MissingExtra(f"needs the package x, looked in {folder}"),
        ServerError(f"Postgres at inner-host:5432 cannot be used, see {folder}"),
        StoreError(f"{folder}/collection.db is damaged"),
    ]
    async with searching(shelf) as link:
        for error in errors:

            def fail(*_: object, error: RungError = error) -> None:
                raise error

            with monkeypatch.context() as patch:
                patch.setattr(Collection, "search", fail)
                patch.setattr(Collection, "document", fail)
                for path, asked in (("/v1/search", {"q": "tent"}), ("/v1/document", {"id": "a.txt"})):
                    answer = await link.get(path, params=asked)
                    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "index_unavailable")
                    assert str(folder) not in answer.text
                    assert "inner-host" not in answer.text
        deep = await link.get("/v1/search", params={"q": "tent", "where": "(" * 500 + "a=1"})
        assert deep.status_code == 400


def test_what_cannot_be_served_is_told_before_it_listens(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no collection"):
        Collections({"none": tmp_path / "none"})


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    browser = Browser(program, tmp_path / "profile")
    yield browser
    browser.close()


@pytest.mark.slow
async def test_page_in_chromium(shelf: Collections, browser: Browser) -> None:
    def visit(url: str) -> None:
        browser.go(f"{url}/search")
        browser.wait("document.querySelector('#index').value === 'pets'")
        browser.run("document.querySelector('#q').focus()")
        browser.type("tents with a warranty")
        browser.wait("document.querySelector('.hit')")
        first = "document.querySelector('.hit')"
        assert browser.run(f"{first}.querySelector('.source').textContent") == "tents.md"
        assert browser.run(f"{first}.querySelector('.score').textContent").startswith("score ")
        parts = browser.run(f"[...{first}.querySelectorAll('.part')].map(part => part.textContent.split(' ')[0])")
        assert parts == ["dense", "keyword"]
        marks = browser.run(f"[...{first}.querySelectorAll('mark')].map(mark => mark.textContent)")
        assert marks == ["warranty", "tent", "Tents"]  # the last is behind the tent's picture
        assert browser.run(f"{first}.querySelector('.text').textContent") == DOCUMENTS[0].text
        # Text it stays, and the policy holds on its own should it ever become more.
        assert browser.run("document.querySelectorAll('.hit script, .hit img, .hit b, .hit i').length") == 0
        browser.run("document.body.append(Object.assign(document.createElement('script'), {text: 'document.title=1'}))")
        assert browser.run("document.title") == "Search — rung"

        browser.run(f"{first}.querySelector('.source').click()")
        browser.wait("document.querySelector('#passage')")
        assert browser.run("document.querySelector('#passage').textContent") == DOCUMENTS[0].text
        assert browser.run("document.title") == "tents.md"
        browser.run("history.back()")
        browser.wait("document.querySelector('.hit')")
        assert browser.run("document.querySelector('#q').value") == "tents with a warranty"

        browser.go(f"{url}/search?q=wing&mode=keyword&where=tag%20exists")
        browser.wait("document.querySelector('.hit')")
        assert browser.run("document.querySelector('.source').textContent") == "<b>&?#.txt"
        browser.go(f"{url}/search?q=wing&where=%3D%3D")
        browser.wait("document.querySelector('#said.bad')")
        assert browser.run("document.querySelectorAll('.hit').length") == 0

    async with serving(indexes=shelf) as url:
        await asyncio.to_thread(visit, url.removesuffix("/v1"))


async def test_page_asks_for_a_key_where_one_is_needed(shelf: Collections, browser: Browser) -> None:
    def visit(url: str) -> None:
        browser.go(f"{url}/search")
        browser.wait("document.querySelector('#said.bad') && !document.querySelector('#keybox').hidden")
        browser.run("document.querySelector('#key').value = 'secret'")
        browser.run("document.querySelector('#q').focus()")
        browser.type("otters")
        browser.wait("document.querySelector('.hit')")
        assert "secret" not in browser.run("location.href")
        browser.run("document.querySelector('.source').click()")
        browser.wait("document.querySelector('#passage')")

    async with serving(indexes=shelf, keys=Keys([hash_key("secret")])) as url:
        await asyncio.to_thread(visit, url.removesuffix("/v1"))
