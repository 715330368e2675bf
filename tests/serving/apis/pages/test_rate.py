"""The rating page over HTTP and in a real browser: blind, kept at once, by keys."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rung.core.errors import InputError
from rung.serving.apis.pages.rate import make_page, run_page
from rung.serving.http.process.server import address, listen, running
from rung.store import Store, StoredRating, open_store
from rung.studies.runs.rating import Questions, RatedPair
from tests.serving.browser import Browser, chromium

pytestmark = pytest.mark.server

EVIL = "</pre><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
QUESTIONS = (
    RatedPair("e1", {"text": f"first {EVIL}"}, "alpha-rung", "beta-rung", (f"of alpha {EVIL}", "of beta")),
    RatedPair("e2", {"text": "second", "b<r>": "\n two"}, "alpha-rung", "beta-rung", ("$n of alpha", "of beta")),
    RatedPair("e3", {"text": "third"}, "alpha-rung", "gamma-rung", ("of alpha", "of gamma")),
)
STUDY = Questions("run", "desk <i>", QUESTIONS, 4, 7)


@asynccontextmanager
async def serving(store: Store, study: Questions = STUDY) -> AsyncIterator[httpx.AsyncClient]:
    bound = listen("127.0.0.1", 0)
    app = make_page(study, store)
    async with (
        running(app, bound),
        httpx.AsyncClient(base_url=address(bound).removesuffix("/v1"), follow_redirects=True) as client,
    ):
        yield client


def form(number: int, verdict: str = "left", rater: str = "Ada", note: str = "") -> dict[str, Any]:
    return {"rater": rater, "n": str(number), "verdict": verdict, "note": note}


def number(page: httpx.Response) -> int:
    found = re.search(r'name="n" value="(\d+)"', page.text)
    assert found, page.text
    return int(found[1])


async def test_a_rater_is_led_through_and_every_verdict_is_kept_with_its_sides(store: Store) -> None:
    async with serving(store) as client:
        assert "3 questions" in (await client.get("/")).text
        page = await client.get("/rate", params={"rater": " Ada  L. "})
        for step, verdict in enumerate(("left", "bad", "tie")):
            assert number(page) == step
            assert f"Ada L., {step} of 3 rated" in page.text
            page = await client.post("/rate", data=form(step, verdict, "Ada L.", "why\r\nnot"))
            rows = store.ratings.of("run")
            assert len(rows) == step + 1
            assert (rows[-1].verdict, rows[-1].rater, rows[-1].note, rows[-1].seed) == (
                verdict,
                "Ada L.",
                "why\nnot",
                7,
            )
            assert rows[-1].left == STUDY.left(QUESTIONS[step], "Ada L.")
        assert "Thank you, Ada L." in page.text
        other = await client.get("/rate", params={"rater": "Bob"})
        assert number(other) == 0


async def test_it_goes_on_after_a_restart_and_a_verdict_can_be_changed(store: Store) -> None:
    async with serving(store) as client:
        await client.post("/rate", data=form(0))
    with open_store(store.url) as again:
        async with serving(again) as client:
            page = await client.get("/rate", params={"rater": "Ada"})
            assert number(page) == 1
            assert 'id="back" href="/rate?rater=Ada&amp;n=0"' in page.text
            page = await client.get("/rate", params={"rater": "Ada", "n": 0})
            assert "You said: left is better" in page.text
            assert number(await client.post("/rate", data=form(0, "tie"))) == 1
    assert [row.verdict for row in store.ratings.of("run")] == ["tie"]


async def test_the_pages_do_not_say_whose_answer_it_is(store: Store) -> None:
    async with serving(store) as client:
        for n in range(3):
            text = (await client.get("/rate", params={"rater": "Ada", "n": n})).text
            assert not re.search(r"(alpha|beta|gamma)-rung", text)


async def test_sides_are_a_fair_coin_that_differs_between_raters() -> None:
    sides = [STUDY.left(QUESTIONS[0], f"rater {i}") == "alpha-rung" for i in range(400)]
    assert 160 < sum(sides) < 240
    assert sides == [STUDY.left(QUESTIONS[0], f"rater {i}") == "alpha-rung" for i in range(400)]


async def test_what_is_shown_stands_on_the_side_that_is_kept(store: Store) -> None:
    async with serving(store) as client:
        for rater in (f"r{i}" for i in range(6)):
            text = (await client.get("/rate", params={"rater": rater, "n": 2})).text
            left = re.search(r'<pre id="left">(.*?)</pre>', text)
            assert left is not None
            assert left[1] == ("of alpha" if STUDY.left(QUESTIONS[2], rater) == "alpha-rung" else "of gamma")


async def test_texts_are_shown_as_they_are_and_the_policy_lets_nothing_in(store: Store) -> None:
    async with serving(store) as client:
        page = await client.get("/rate", params={"rater": f"Ada {EVIL}"})
        assert "<img" not in page.text
        assert page.text.count("<script") == 1
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        nonce = re.search(r"script-src 'nonce-([^']+)'", page.headers["content-security-policy"])
        assert nonce
        assert f'<script nonce="{nonce[1]}">' in page.text
        assert "$n of alpha" in (await client.get("/rate", params={"rater": "Ada", "n": 1})).text


@pytest.mark.parametrize(
    "data",
    [
        form(3),
        form(-1),
        form(0, "alpha-rung"),
        form(0, rater="  "),
        {"rater": "Ada"},
        {"n": "x", "rater": "Ada", "verdict": "tie"},
        {**form(0), "note": "x" * 70_000},
        {},
    ],
)
async def test_incomplete_forms_are_refused_and_keep_nothing(store: Store, data: dict[str, Any]) -> None:
    async with serving(store) as client:
        assert (await client.post("/rate", data=data)).status_code == 400
        assert number(await client.get("/rate", params={"rater": "Ada", "n": 99})) == 0
    assert store.ratings.of("run") == []


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "same-site"}],
)
async def test_other_sites_cannot_rate(store: Store, headers: dict[str, str]) -> None:
    async with serving(store) as client:
        assert (await client.post("/rate", data=form(0), headers=headers)).status_code == 403
    assert store.ratings.of("run") == []


async def test_nobody_without_a_name(store: Store) -> None:
    async with serving(store) as client:
        assert "Your name" in (await client.get("/rate")).text


def test_only_this_machine(store: Store) -> None:
    with pytest.raises(InputError, match="other machines"):
        run_page(STUDY, store, host="0.0.0.0", port=0, say=print)


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    """The page in a thread of its own: the browser is driven from this one."""
    ready, end = threading.Event(), threading.Event()
    where: list[str] = []

    async def work() -> None:
        async with serving(store) as client:
            where.append(str(client.base_url))
            ready.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    assert ready.wait(20)
    yield where[0]
    end.set()
    thread.join()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("no Chromium here; type: apt-get install chromium")
    opened = Browser(program, tmp_path / "profile")
    yield opened
    opened.close()


def press(browser: Browser, key: str) -> None:
    extra = {"text": key} if len(key) == 1 else {}
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=key, **extra)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def test_by_keys_in_chromium(store: Store, url: str, browser: Browser) -> None:
    browser.go(url)
    browser.wait("document.activeElement.name === 'rater'")
    browser.type("Grace")
    browser.wait("document.body.innerText.includes('0 of 3 rated')")
    assert EVIL in browser.run("document.querySelector('pre').innerText")
    press(browser, "n")
    browser.wait("document.activeElement.id === 'note'")
    browser.call("Input.insertText", text="b is a letter here")
    press(browser, "1")  # in the note a key is a letter, not a verdict
    assert browser.run("document.getElementById('note').value") == "b is a letter here1"
    assert store.ratings.of("run") == []
    press(browser, "Escape")
    press(browser, "ArrowRight")
    browser.wait("document.body.innerText.includes('1 of 3 rated')")
    press(browser, "b")
    browser.wait("document.body.innerText.includes('2 of 3 rated')")
    press(browser, "u")
    browser.wait("document.body.innerText.includes('You said: both bad')")
    press(browser, "t")
    browser.wait("document.body.innerText.includes('2 of 3 rated') && !document.body.innerText.includes('You said')")
    browser.run("document.querySelector('button[value=left]').click()")
    browser.wait("document.body.innerText.includes('Thank you, Grace')")
    assert browser.run("document.title") == "Rate answers"
    kept: dict[str, StoredRating] = {row.example: row for row in store.ratings.of("run")}
    assert {id: row.verdict for id, row in kept.items()} == {"e1": "right", "e2": "tie", "e3": "left"}
    assert kept["e1"].note == "b is a letter here1"
