"""An A/B test over HTTP: callers stay where they are, scores come back, a worse arm loses its traffic."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import openai
import pytest

from rung.core.errors import InputError, ServerError, StoreError
from rung.core.settings import Settings
from rung.core.types import ResponseFormat
from rung.models import Pool
from rung.models.wrap import wrap
from rung.serving.access.keys import Keys, hash_key
from rung.serving.endpoints.endpoint import Endpoint
from rung.serving.gateway.plan import ABOptions, Shares
from rung.serving.quality.ab import ABTest, compare, report
from rung.store import Store, open_store
from tests.serving.loopback import LABELS, Halting, endpoint, program, serving

pytestmark = pytest.mark.server

HI: list[Any] = [{"role": "user", "content": "my card"}]
HALF = Shares("desk", (("one", 0.5), ("two", 0.5)))


def arms() -> list[Endpoint]:
    return [endpoint(program(), "one"), endpoint(program(form=ResponseFormat("labels", labels=LABELS)), "two")]


def split(store: Store, shares: Shares = HALF) -> ABTest:
    return ABTest(shares, arms(), store)


async def ask(client: httpx.AsyncClient, user: str | None = None, **headers: str) -> httpx.Response:
    body = {"model": "desk", "messages": HI} | ({"user": user} if user else {})
    reply = await client.post("/chat/completions", json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply


def web(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=20)


async def test_callers_are_split_by_their_share_and_stay(store: Store) -> None:
    shares = Shares("desk", (("one", 0.75), ("two", 0.25)))
    test = split(store, shares)
    first = {str(i): test.choose(_asked(str(i)), {}, "").arm for i in range(400)}
    assert 265 <= Counter(first.values())["one"] <= 335  # 300 expected, 4 standard deviations
    callers = [
        [user for user, arm in first.items() if arm == name][:6] for name in ("one", "two")
    ]  # the salt is random
    with open_store(store.url) as again:  # after a restart too
        async with serving(*arms(), ab_tests=[split(again, shares)]) as url, web(url) as client:
            for user in [*callers[0], *callers[1]]:
                reply = await ask(client, user)
                assert reply.headers["x-rung-arm"] == first[user]
                assert reply.headers["x-rung-split-by"] == "user"
    tally = store.ab_tests.tally("desk")
    assert (tally["one"].answers, tally["two"].answers) == (6, 6)
    # Raising a share moves callers one way only.
    wider = split(store, Shares("desk", (("one", 0.9), ("two", 0.1))))
    moved = Counter((arm, wider.choose(_asked(user), {}, "").arm) for user, arm in first.items())
    assert moved["one", "two"] == 0
    assert moved["two", "one"] > 30


def _asked(user: str) -> Any:
    from rung.serving.apis.wire.chat import read_chat

    return read_chat(json.dumps({"model": "desk", "messages": HI, "user": user}).encode())


async def test_the_arm_answers_and_the_official_client_sees_one_model(store: Store) -> None:
    async with (
        serving(*arms(), ab_tests=[split(store)]) as url,
        openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as api,
    ):
        assert [model.id async for model in await api.models.list()] == ["rung/one", "rung/two", "desk"]
        seen = set()
        for i in range(12):
            raw = await api.chat.completions.with_raw_response.create(model="desk", messages=HI, user=f"u{i}")
            said = raw.parse()
            arm = raw.headers["x-rung-arm"]
            seen.add(arm)
            assert said.model == "desk"
            assert said.choices[0].message.content == {"one": "my card", "two": "card"}[arm]
        assert seen == {"one", "two"}


async def test_streams_state_their_arm_and_can_be_scored(store: Store) -> None:
    async with serving(*arms(), ab_tests=[split(store)]) as url, web(url) as client:
        body = {"model": "desk", "messages": HI, "user": "u", "stream": True}
        reply = await client.post("/chat/completions", json=body)
        arm = reply.headers["x-rung-arm"]
        id = json.loads(reply.text.splitlines()[0].removeprefix("data: "))["id"]
        said = await client.post("/feedback", json={"id": id, "score": 1})
        assert said.json() == {"id": id, "model": "desk", "arm": arm, "score": 1.0}


async def test_what_names_the_caller(store: Store) -> None:
    named = Shares("desk", HALF.arms, header="x-session")
    keys = Keys([hash_key("k1"), hash_key("k2")])
    async with serving(*arms(), keys=keys, ab_tests=[split(store, named)]) as url, web(url) as client:
        key = {"authorization": "Bearer k1"}
        assert (await ask(client, **key)).headers["x-rung-split-by"] == "key"
        assert (await ask(client, "u", **key)).headers["x-rung-split-by"] == "user"
        assert (await ask(client, "u", **{"x-session": "s", **key})).headers["x-rung-split-by"] == "header"
    # Without keys on the server the key that clients send anyway names nobody.
    async with serving(*arms(), ab_tests=[split(store, named)]) as url, web(url) as client:
        by = [await ask(client, authorization="Bearer none") for _ in range(16)]
        assert {reply.headers["x-rung-split-by"] for reply in by} == {"request"}
        assert {reply.headers["x-rung-arm"] for reply in by} == {"one", "two"}


async def test_feedback_is_taken_once_and_a_caller_counts_once(store: Store) -> None:
    async with serving(*arms(), ab_tests=[split(store)]) as url, web(url) as client:
        ids = [(await ask(client, "u")).json()["id"] for _ in range(3)]
        for id, score in zip(ids, (1, 0.5, 0), strict=True):
            assert (await client.post("/feedback", json={"id": id, "score": score})).status_code == 200
        assert (await client.post("/feedback", json={"id": ids[0], "score": 1})).status_code == 200
        other = await client.post("/feedback", json={"id": ids[0], "score": 0})
        assert (other.status_code, other.json()["error"]["code"]) == (409, "scored")
        assert (await client.post("/feedback", json={"id": "chatcmpl-nobody", "score": 1})).status_code == 404
        bodies: list[Any] = [
            {"id": ids[0]},
            {"id": ids[0], "score": 1.5},
            {"id": ids[0], "score": "1"},
            {"id": 3, "score": 1},
            [],
        ]
        for body in bodies:
            assert (await client.post("/feedback", json=body)).status_code == 400
    (row,) = store.ab_tests.tally("desk").values()
    assert (row.answers, row.scored, row.mean, row.callers, row.total) == (3, 3, 0.5, 1, 1.0)


async def test_feedback_wants_the_key_and_is_not_there_without_a_test(store: Store) -> None:
    keys = Keys([hash_key("k")])
    async with serving(*arms(), keys=keys, ab_tests=[split(store)]) as url, web(url) as client:
        assert (await client.post("/feedback", json={"id": "x", "score": 1})).status_code == 401
    async with serving(*arms()) as url, web(url) as client:
        assert (await client.post("/feedback", json={"id": "x", "score": 1})).status_code == 404


@pytest.mark.parametrize("rollback", [True, False])
@pytest.mark.slow
async def test_a_worse_arm_loses_its_traffic_and_stays_so(store: Store, rollback: bool) -> None:
    shares = Shares("desk", HALF.arms, rollback=rollback)
    good = {"one": 1.0, "two": 0.0}
    async with serving(*arms(), ab_tests=[split(store, shares)]) as url, web(url) as client:

        async def visit(user: str) -> str:
            reply = await ask(client, user)
            arm = reply.headers["x-rung-arm"]
            await client.post("/feedback", json={"id": reply.json()["id"], "score": good[arm]})
            return arm

        async with asyncio.timeout(60):
            visits = [await visit(f"u{i}") for i in range(30)]
    late = visits[20:]
    assert set(late) == ({"one"} if rollback else {"one", "two"})
    seen = store.ab_tests.get("desk")
    assert seen is not None
    assert bool(seen.stopped) is rollback
    assert (
        "rolled back, all traffic goes to one: two is worse than one" in report(seen, store.ab_tests.tally("desk"))
    ) is rollback
    if rollback:
        # The moment it was shown to be worse was the first moment that the test says so.
        assert compare(store.ab_tests.tally("desk"), ["one", "two"], 0.05).verdict == "worse"
        with open_store(store.url) as again:
            kept = split(again, shares)
            assert {kept.choose(_asked(str(i)), {}, "").arm for i in range(50)} == {"one"}


@pytest.mark.slow
async def test_an_arm_that_fails_scores_nothing_and_loses_its_traffic(store: Store) -> None:
    broken = endpoint(program(wrap(Halting(error=ServerError("gone")), Pool(Settings({"retries": 0})).settings)), "two")
    endpoints = [arms()[0], broken]
    statuses = Counter[int]()
    async with serving(*endpoints, ab_tests=[ABTest(HALF, endpoints, store)]) as url, web(url) as client:
        for i in range(24):
            reply = await client.post("/chat/completions", json={"model": "desk", "messages": HI, "user": f"u{i}"})
            statuses[reply.status_code] += 1
            if reply.status_code == 200:
                await client.post("/feedback", json={"id": reply.json()["id"], "score": 1})
        bad = await client.post("/chat/completions", json={"model": "desk", "messages": [], "user": "u"})
        assert bad.status_code == 400
    tally = store.ab_tests.tally("desk")
    assert (tally["two"].answers, tally["two"].scored, tally["two"].total) == (statuses[502], statuses[502], 0.0)
    assert 3 <= statuses[502] < 12
    seen = store.ab_tests.get("desk")
    assert seen is not None
    assert seen.stopped.startswith("two is worse than one")


async def test_a_second_server_on_the_store_learns_of_it(store: Store) -> None:
    here, there = split(store), split(store)
    store.ab_tests.stop("desk", "another server said so")
    turn = here.choose(_asked("u"), {}, "")
    await turn.note("chatcmpl-1")
    assert here.stopped == "another server said so"
    assert there.stopped == ""


async def test_answers_are_given_while_the_store_is_in_trouble(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise StoreError("the disk is full")

    monkeypatch.setattr(store.ab_tests, "put_outcome", broken)
    async with serving(*arms(), ab_tests=[split(store)]) as url, web(url) as client:
        reply = await ask(client, "u")
        assert (await client.post("/feedback", json={"id": reply.json()["id"], "score": 1})).status_code == 404


def test_the_store_never_sees_who_calls(store: Store) -> None:
    turn = split(store).choose(_asked("ada@example.org"), {}, "")
    other = split(store).choose(_asked("ada@example.org"), {}, "")
    assert turn.caller == other.caller
    assert len(turn.caller) == 32
    assert "ada" not in turn.caller


def test_a_test_goes_on_with_the_same_programs_only(store: Store) -> None:
    split(store)
    split(store)
    changed = [endpoint(program(form=ResponseFormat("number")), "one"), arms()[1]]
    with pytest.raises(InputError, match="other programs"):
        ABTest(HALF, changed, store)
    with pytest.raises(InputError, match="alpha"):
        split(store, Shares("desk", HALF.arms, alpha=0.01))
    with pytest.raises(InputError, match="no 'three'"):
        split(store, Shares("x", (("one", 0.5), ("three", 0.5))))
    with pytest.raises(InputError, match="something else"):
        split(store, Shares("rung/one", HALF.arms))


def test_shares_are_read() -> None:
    shares = ABOptions(" A=0.9, B=0.1", "n", split_by="X-Who").shares()
    assert shares is not None
    assert shares.arms == (("A", 0.9), ("B", 0.1))
    assert shares.header == "x-who"
    for bad in (
        "",
        "A",
        "A=1",
        "A=0.5,B=0.6",
        "A=0.5,A=0.5",
        "A=1,B=0",
        "A=x,B=0.1",
        "A=.3,B=.3,C=.4",
        "=0.5,B=0.5",
        "A=nan,B=0.5",
    ):
        with pytest.raises(InputError, match="two arms"):
            ABOptions(bad, "n").shares()
    with pytest.raises(InputError, match="--as"):
        ABOptions("A=0.9,B=0.1", "").shares()
    with pytest.raises(InputError, match="alpha"):
        ABOptions("A=0.9,B=0.1", "n", alpha=1).shares()
