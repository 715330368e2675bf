from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from rung.serving.access.call import RequestCall, enter
from rung.serving.access.issue import issue
from rung.serving.apis.wire.chat import ChatRequest
from rung.serving.endpoints.endpoint import ChatChoice
from rung.serving.gateway.cache import AnswerCache
from rung.store import open_store
from tests.serving.gateway.opened import gateway
from tests.serving.upstream import upstream

TEXT = """endpoints: {a: {url: URL, name: NAME}}
routes: {desk: {try: a, cache: 1h}}
"""


def asked(text: str = "hello there", **changes: Any) -> dict[str, Any]:
    return {"model": "desk", "messages": [{"role": "user", "content": text}], "temperature": 0, **changes}


def text_of(reply: httpx.Response, stream: bool) -> str:
    import json

    if not stream:
        return str(reply.json()["choices"][0]["message"]["content"])
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    return "".join(c["delta"].get("content") or "" for event in events for c in event["choices"])


@pytest.mark.server
async def test_the_same_question_is_asked_once_and_streams_alike(tmp_path: Path) -> None:
    async with (
        upstream() as server,
        gateway(tmp_path, TEXT.replace("URL", server.url).replace("NAME", "ok")) as (url, opened),
        httpx.AsyncClient(base_url=url) as http,
    ):
        replies = []
        for stream in (True, False, True):
            options: dict[str, Any] = {"stream_options": {"include_usage": True}} if stream else {}
            replies.append(await http.post("/chat/completions", json=asked(stream=stream, **options)))
            await opened.cache.store.settle()  # type: ignore[union-attr]
            opened.cache._memory.clear()  # what is in memory is in the store too
        assert [reply.headers["x-rung-cache"] for reply in replies] == ["miss", "hit", "hit"]
        assert {text_of(reply, at != 1) for at, reply in enumerate(replies)} == {"said: hello there"}
        assert replies[1].json()["usage"]["total_tokens"] == 0
        assert replies[1].headers["x-rung-saved-tokens"] == "10"
        assert len(server.asked) == 1
        for change in (
            {"temperature": 0, "messages": [{"role": "user", "content": "hello there!"}]},
            {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hello there"}]},
            {"max_tokens": 5},
            {"seed": 4},
            {"top_p": 0.5},
        ):
            reply = await http.post("/chat/completions", json=asked(**change))
            assert reply.headers["x-rung-cache"] == "miss"
        warm = await http.post("/chat/completions", json=asked(temperature=0.7))
        assert "x-rung-cache" not in warm.headers


@pytest.mark.server
async def test_two_at_once_are_asked_once_and_failures_are_not_kept(tmp_path: Path) -> None:
    async with (
        upstream() as server,
        gateway(tmp_path, TEXT.replace("URL", server.url).replace("NAME", "slow")) as (url, _),
    ):
        async with httpx.AsyncClient(base_url=url) as http:
            replies = await asyncio.gather(
                *(http.post("/chat/completions", json=asked(stream=at % 2 == 1)) for at in range(6))
            )
        assert [reply.status_code for reply in replies] == [200] * 6
        assert len(server.asked) == 1
        assert sorted(reply.headers["x-rung-cache"] for reply in replies) == ["hit"] * 5 + ["miss"]
    async with (
        upstream() as server,
        gateway(tmp_path, TEXT.replace("URL", server.url).replace("NAME", "down")) as (url, _),
    ):
        async with httpx.AsyncClient(base_url=url) as http:
            replies = await asyncio.gather(*(http.post("/chat/completions", json=asked("new")) for _ in range(3)))
        assert {reply.status_code for reply in replies} <= {502, 503}


@pytest.mark.server
async def test_tenants_do_not_share(tmp_path: Path) -> None:
    text = "keys: issued\n" + TEXT
    async with (
        upstream() as server,
        gateway(tmp_path, text.replace("URL", server.url).replace("NAME", "ok")) as (url, opened),
    ):
        assert opened.store is not None
        found = []
        for tenant in ("one", "one", "two"):
            key, _ = issue(opened.store, tenant)
            async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as http:
                found.append((await http.post("/chat/completions", json=asked())).headers["x-rung-cache"])
    assert found == ["miss", "hit", "miss"]


def test_near_misses_have_keys_of_their_own() -> None:
    cache = AnswerCache(None)
    texts = [
        f"{a} {b}{c}"
        for a in ("is", "Is", "is ", "was")
        for b in ("it", "It", "ít", "i t")
        for c in ("?", "", " ", ".", "\n")
    ]
    keys = {cache.key(ChatRequest.model_validate(asked(text)), "f", "t") for text in texts}
    assert len(keys) == len(texts)
    assert "" not in keys
    one = ChatRequest.model_validate(asked())
    assert cache.key(one, "f", "t") == cache.key(one.model_copy(update={"stream": True, "user": "u"}), "f", "t")
    assert len({cache.key(one, f, t) for f in "ab" for t in "cd"}) == 4
    joined = [("a", "b\0c"), ("a\0b", "c")]
    assert (
        len(
            {
                cache.key(
                    ChatRequest.model_validate(
                        {**asked(), "messages": [{"role": "system", "content": s}, {"role": "user", "content": u}]}
                    ),
                    "f",
                    "t",
                )
                for s, u in joined
            }
        )
        == 2
    )


async def test_an_answer_kept_while_the_clock_was_ahead_is_not_young_when_it_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1e9]
    monkeypatch.setattr("rung.serving.gateway.cache.time", SimpleNamespace(time=lambda: now[0]))
    cache = AnswerCache(None)
    cache.keep("k", [ChatChoice(0, "hello")])
    now[0] -= 30  # two machines do not agree to the second
    assert await cache.find("k", 60)
    now[0] -= 86_400
    assert await cache.find("k", 60) is None
    assert await cache.find("k")  # of any age


def test_short_answers_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.serving.gateway.cache.BYTES", 10_000)
    cache = AnswerCache(None)
    for at in range(50):
        cache.keep(f"key {at}", [ChatChoice(0, "x")])
    assert 5 <= len(cache._memory) <= 10
    assert list(cache._memory)[-1] == "key 49"


async def test_what_somebody_was_answered_is_gone_with_them_from_a_server_at_work(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:
        cache = AnswerCache(store)
        enter(RequestCall(subject=store.subjects.mark("ann")))
        cache.keep("key", [ChatChoice(0, "hers")])
        await store.settle()
        for one in (cache, AnswerCache(store)):  # of this process, and of another one
            assert await one.find("key") == [ChatChoice(0, "hers")]
            assert not one._memory
        assert store.subjects.forget("ann").responses == 1
        assert await cache.find("key") is None
