from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import httpx
import pytest

from rung.core.protocols import Model
from rung.core.types import Message
from rung.serving.access.keys import Keys, hash_key
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.endpoints.endpoint import ChatChoice, Piece
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen, running
from rung.serving.quality.people.survey import AnswerSurvey
from rung.serving.quality.record import Recorder
from rung.store import Store, open_store
from tests.serving.browser import Browser, chromium

pytestmark = pytest.mark.server

EVIL = "<img src=x onerror=\"document.title='pwned'\">"


class Halfway:
    """Says the first half, and the rest once it is ``told`` to."""

    id, created, fingerprint = "halfway", 0, "f"
    model: Model | None = None

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def reply(self, request: ChatRequest, *, live: bool) -> AsyncGenerator[Piece | ChatChoice]:
        yield Piece(0, "first ")
        await self.told.wait()
        yield Piece(0, EVIL)
        yield ChatChoice(0, f"first {EVIL}")

    def heard(self, request: ChatRequest) -> tuple[Message, ...]:
        return tuple(message.message() for message in request.messages)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    browser = Browser(program, tmp_path / "profile")
    yield browser
    browser.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as opened:
        yield opened


async def test_the_first_word_is_read_before_the_last_is_there(browser: Browser, store: Store) -> None:
    said, loop = Halfway(), asyncio.get_running_loop()

    def visit(url: str) -> None:
        browser.go(f"{url}/chat")
        browser.wait("!document.querySelector('#keybox').hidden")
        browser.run("document.querySelector('#key').value = 'secret'")
        browser.run("document.querySelector('#text').focus()")
        browser.type("hello there")
        browser.wait("document.querySelector('.assistant .text')?.textContent === 'first '")
        loop.call_soon_threadsafe(said.told.set)
        browser.wait("document.querySelector('.survey')")
        assert browser.run("document.querySelector('.assistant .text').textContent") == f"first {EVIL}"
        assert browser.run("document.querySelectorAll('.turn img').length") == 0
        assert browser.run("document.title") == "Chat — rung"
        assert "secret" not in browser.run("location.href")
        browser.run("document.querySelector('.survey button').click()")
        browser.wait("document.querySelector('.survey').textContent === 'Thank you.'")

    served = Served(
        [said],
        Keys([hash_key("secret")]),
        Limits(grace=1),
        recorder=Recorder(store),
        survey=AnswerSurvey(1.0, "Good? Really?"),
    )
    bound = listen("127.0.0.1", 0)
    async with running(make_app(served, warm_up=False), bound):
        await asyncio.to_thread(visit, address(bound).removesuffix("/v1"))
    assert sorted((row.kind, row.value) for row in store.signals.all()) == [("survey", 1.0), ("survey-shown", 1.0)]


async def test_a_share_of_the_answers_carries_the_question() -> None:
    endpoint = Halfway()
    endpoint.told.set()
    bound = listen("127.0.0.1", 0)
    served = Served([endpoint], limits=Limits(grace=1), survey=AnswerSurvey(0.5, "Ça va?"))
    async with running(make_app(served, warm_up=False), bound), httpx.AsyncClient(base_url=address(bound)) as http:
        body = {"model": "halfway", "messages": [{"role": "user", "content": "x"}]}
        replies = [await http.post("/chat/completions", json=body) for _ in range(60)]
        page = await http.get(address(bound).replace("/v1", "/chat"))
    asked = [reply.headers.get("x-rung-survey") for reply in replies]
    assert set(asked) == {None, "%C3%87a%20va%3F"}
    assert 12 <= sum(one is not None for one in asked) <= 48
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
