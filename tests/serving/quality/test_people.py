"""What a server does for and with people: moderation with appeals, answers in one's own style, an alarm when what is asked drifts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from rung.alignment.audit.drift import Monitor
from rung.alignment.people.feedback import keep, said_by
from rung.alignment.people.personal import STYLE, style_for
from rung.alignment.values.moderation import LabelModel, Moderator
from rung.models.providers.fake import Fake
from rung.safety.filter import TrainedFilter
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen, running
from rung.serving.observe import drift
from rung.serving.quality.forget import forget_subject
from rung.serving.quality.people.moderation import Moderation
from rung.serving.quality.people.style import PersonalStyles
from rung.serving.quality.record import Recorder
from rung.store import Store, StoredSignal
from tests.alignment.words import Words
from tests.serving.loopback import bare, endpoint, program

pytestmark = pytest.mark.server


@asynccontextmanager
async def serving(store: Store, *endpoints: Any, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    served = Served(endpoints, limits=Limits(grace=1), recorder=Recorder(store), subject=store.subjects.mark, **more)
    bound = listen("127.0.0.1", 0)
    async with running(make_app(served, warm_up=False), bound), httpx.AsyncClient(base_url=address(bound)) as client:
        yield client


async def ask(client: httpx.AsyncClient, text: str, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": text}]
    return await client.post("/chat/completions", json={"model": "fake:echo", "messages": messages, **more})


def moderation(store: Store, **more: bool) -> Moderation:
    """A policy against bombs that is unsure of bombs with cake."""
    learnt = TrainedFilter.fit([f"a bomb of size {at}" for at in range(9)], [f"a cake of size {at}" for at in range(9)])
    low, middle, high = learnt.scores(["cake", "bomb cake", "bomb"]).tolist()
    model = LabelModel(learnt, (), (middle + high) / 2, (low + middle) / 2)
    return Moderation(Moderator({"harm": model}, "policy"), store, **more)


async def test_what_is_blocked_is_held_back_and_a_ruling_on_an_appeal_lets_it_pass(store: Store) -> None:
    async with serving(store, bare(Fake()), moderation=moderation(store)) as client:
        assert (await ask(client, "cake")).status_code == 200
        refused = await ask(client, "bomb", user="ann")
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "content_filter")
        (row,) = store.decisions.all()
        assert (row.text, row.verdict, row.person, row.waiting) == (
            "bomb",
            "blocked",
            store.subjects.mark("ann"),
            False,
        )
        assert row.id in refused.json()["error"]["message"]
        assert (await client.post("/appeals", json={"id": row.id, "reason": " "})).status_code == 400
        assert (await client.post("/appeals", json={"id": "nothing", "reason": "x"})).status_code == 404
        assert (await client.post("/appeals", json={"id": row.id, "reason": "a bath bomb"})).json()["waiting"]
        assert store.decisions.rule(row.id, "allowed", "bob", "it fizzes")
        assert (await client.get(f"/appeals/{row.id}")).json()["ruling"] == "allowed"
        assert (await client.post("/appeals", json={"id": row.id, "reason": "again"})).status_code == 409
        assert (await ask(client, "bomb")).json()["choices"][0]["message"]["content"] == "bomb"
    assert forget_subject(store, "ann", []).forgotten.decisions == 1
    assert store.decisions.all() == []


async def test_what_the_policy_is_unsure_of_waits_for_a_person(store: Store) -> None:
    async with serving(store, bare(Fake()), moderation=moderation(store)) as client:
        assert (await ask(client, "bomb cake")).status_code == 200
    assert [(row.verdict, row.waiting) for row in store.decisions.all()] == [("review", True)]
    async with serving(store, bare(Fake()), moderation=moderation(store, strict=True)) as client:
        assert (await ask(client, "bomb cake")).status_code == 400


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_judged_before_anything_of_it_is_given_out(store: Store, stream: bool) -> None:
    async with serving(store, bare(Fake({"cake": "bomb"})), moderation=moderation(store)) as client:
        reply = await ask(client, "cake", stream=stream)
    assert reply.status_code == 200
    assert "content_filter" in reply.text
    assert '"bomb' not in reply.text
    assert [row.text for row in store.decisions.all()] == ["bomb"]
    await store.settle()
    (kept,) = store.served.all()
    assert "bomb" not in kept.payload


async def test_a_persons_ratings_over_http_change_that_persons_answers_alone(store: Store) -> None:
    styles = PersonalStyles({"brief": "Be brief.", "list": "Make a list."}, store)
    ann, bob = store.subjects.mark("ann"), store.subjects.mark("bob")
    for style in styles.styles:
        ids = [f"{style}-{at}" for at in range(30)]
        store.signals.add([StoredSignal(id, STYLE, 1.0, style, ann) for id in ids])
        store.signals.add([StoredSignal(id, "rating", float(style == "list"), "", ann) for id in ids])
    others = style_for(store, bob, list(styles.styles))
    model = Fake()
    async with serving(store, bare(model), endpoint(program()), styles=styles) as client:
        reply = await ask(client, "hello", user="ann")
        assert reply.headers["x-rung-style"] == "list"
        assert [one.content for one in model.calls[-1].messages] == ["Make a list.", "hello"]
        said = {"id": reply.json()["id"], "score": 0.5, "user": "ann"}
        assert (await client.post("/feedback", json=said)).status_code == 200
        assert (await ask(client, "hello", user="bob")).headers["x-rung-style"] == others
        assert "x-rung-style" not in (await ask(client, "hello")).headers
        assert "x-rung-style" not in (await ask(client, "hello", user="ann", model="rung/echo")).headers
    assert [(row.kind, row.value) for row in said_by(store, "ann")][-2:] == [(STYLE, 1.0), ("rating", 0.5)]
    forget_subject(store, "ann", [])
    assert said_by(store, "ann") == []
    assert len(said_by(store, "bob")) == 1


async def test_what_a_forgotten_person_said_of_an_answer_is_taken_back(store: Store) -> None:
    store.served.note("a", "m", "{}")
    await store.settle()
    keep(store, [StoredSignal("a", "rating", 1.0, "", "bob")])
    keep(store, [StoredSignal("a", "rating", 0.25, "", "ann"), StoredSignal("a", "edit", 1.0, "canary", "ann")])
    forget_subject(store, "ann", [])
    row = store.served.get("a")
    assert row is not None
    assert (row.score, row.correction) == (1.0, None)


async def test_drift_opens_one_job_for_one_alarm(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "SETTLED", -1.0)
    usual = [f"refund order {at % 7} parcel late {at % 5}" for at in range(120)]

    async def note(texts: list[str]) -> None:
        for at, text in enumerate(texts):
            payload = {"messages": [{"role": "user", "content": text}], "answers": [{"text": "yes"}]}
            store.served.note(f"{at:05d}-{text}", "m", json.dumps(payload))
        await store.settle()

    def watch() -> drift.DriftWatch:
        return drift.DriftWatch(Monitor(cast(Any, Words()), usual), store, tmp_path / "job.json")

    first = watch()
    await note(usual[:60])
    assert not first.look()
    await note([f"moon rhyme verse sonnet {at}" for at in range(120)])
    assert first.look()
    job = tmp_path / "job.json"
    assert json.loads(job.read_text())["why"] == "drift"
    (tmp_path / "2").mkdir()
    job.replace(tmp_path / "2" / "job.json")  # as a cycle does
    assert watch().look()
    assert not job.exists()
