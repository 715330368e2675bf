from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rung.core.errors import InputError
from rung.serving.access.door import Door
from rung.serving.access.issue import Keyring, Scope, issue, limits_of, rotate
from rung.serving.access.roles import MAY, PATHS, ROLES, VERBS, may, verb_of
from rung.serving.apis.wire.refused import Refused
from rung.store import Store, open_store
from tests.serving.gateway.opened import gateway

HI: list[Any] = [{"role": "user", "content": "hello there"}]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as opened:
        yield opened


async def test_a_key_is_known_and_kept_nowhere(store: Store, tmp_path: Path) -> None:
    key, kept = issue(store, "acme", "caller", Scope(("desk", "rung/*")))
    holder = await Keyring(store).find(key)
    assert holder is not None
    assert (holder.caller.tenant, holder.caller.key, holder.caller.role) == ("acme", kept.id, "caller")
    assert holder.caller.may_ask("rung/any")
    assert not holder.caller.may_ask("other")
    await store.settle()
    secret = key.split("_", 2)[2][:20].encode()  # a secret may have a _ of its own
    assert all(secret not in file.read_bytes() for file in tmp_path.iterdir())
    for wrong in (key[:-1], key + "x", key[:-1] + ("a" if key[-1] != "a" else "b"), key.upper(), "rung__", ""):
        assert await Keyring(store).find(wrong) is None


async def test_a_revoked_key_ends_within_two_seconds_and_a_rotated_one_after_its_overlap(store: Store) -> None:
    now = [time.time()]
    key, kept = issue(store, "acme")
    ring = Keyring(store, clock=lambda: now[0])
    assert await ring.find(key) is not None
    new, _ = rotate(store, kept, overlap=60)
    assert await ring.find(new) is not None
    now[0] += 2
    assert await ring.find(key) is not None  # both are valid
    now[0] += 60
    assert await ring.find(key) is None
    assert await ring.find(new) is not None
    store.keys.revoke(new.split("_")[1])
    now[0] += 1.5
    assert await ring.find(new) is None
    now[0] -= 86_400  # the clock is set back to before it was revoked, and to before there was such a key
    assert await ring.find(new) is None
    assert await Keyring(store, clock=lambda: 1.0).find(new) is None


async def test_an_expired_key_is_no_key(store: Store) -> None:
    now = [time.time()]
    key, kept = issue(store, "acme", expires=now[0] + 10)
    ring = Keyring(store, clock=lambda: now[0])
    assert await ring.find(key) is not None
    now[0] += 11
    assert await ring.find(key) is None
    with pytest.raises(InputError):
        rotate(
            store, store.keys.all()[0].__class__(**{**{n: getattr(kept, n) for n in kept.__slots__}, "expires": 1.0}), 1
        )


def test_a_key_that_is_revoked_while_it_is_rotated_has_no_heir(store: Store) -> None:
    _, kept = issue(store, "acme")
    store.keys.revoke(kept.id)
    with pytest.raises(InputError):
        rotate(store, kept, overlap=60)  # as it was read before it was revoked
    assert [key.id for key in store.keys.all()] == [kept.id]


def test_bad_tenants_roles_and_limits_are_refused(store: Store) -> None:
    for tenant, role in (("", "caller"), ("a b", "caller"), ("x" * 81, "caller"), ("acme", "king")):
        with pytest.raises(InputError):
            issue(store, tenant, role)
    with pytest.raises(InputError):
        limits_of({"money": ["5 dollars"]})
    assert store.keys.all() == []


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_reaches_what_it_may_and_nothing_else(store: Store, role: str) -> None:
    key, _ = issue(store, "acme", role)
    door = Door(ring=Keyring(store))
    for path in [beginning for beginning, _ in PATHS] + ["/anything/else"]:
        headers = [(b"authorization", f"Bearer {key}".encode())]
        if may(role, verb_of(path)):
            assert (await door.admit(path, headers)).caller.role == role
        else:
            with pytest.raises(Refused) as caught:
                await door.admit(path, headers)
            assert (caught.value.status, caught.value.code) == (403, "role")
    for path in ("/v1/chat/completions", "/graphql", "/metrics", "/ready", "/x"):
        with pytest.raises(Refused) as caught:
            await door.admit(path, [])
        assert caught.value.status == 401


def test_every_verb_is_somebodys_and_admins_do_not_spend() -> None:
    assert set().union(*MAY.values()) == set(VERBS)
    assert "ask" not in MAY["admin"]


async def test_two_keys_are_one_too_many(store: Store) -> None:
    one, _ = issue(store, "a")
    two, _ = issue(store, "b")
    door = Door(ring=Keyring(store))
    with pytest.raises(Refused) as caught:
        await door.admit("/v1/models", [(b"authorization", b"Bearer " + k.encode()) for k in (one, two)])
    assert caught.value.status == 400


@pytest.mark.server
async def test_keys_over_http_scope_rate_and_budget(tmp_path: Path) -> None:
    text = """keys: issued
endpoints: {echo: {model: fake:echo}}
routes: {desk: {try: echo}, other: {try: echo}}
tenants: {acme: {tokens: 60/day}}
"""
    async with gateway(tmp_path, text) as (url, opened):
        assert opened.store is not None
        key, _ = issue(opened.store, "acme", "caller", Scope(("desk",), limits_of({"requests": ["3/minute"]})))
        head = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=url, headers=head) as http:
            assert [m["id"] for m in (await http.get("/models")).json()["data"]] == ["desk"]
            body = {"model": "desk", "messages": HI, "max_tokens": 20}
            ok = await http.post("/chat/completions", json=body)
            assert ok.status_code == 200
            refused = await http.post("/chat/completions", json={**body, "model": "other"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
            broke = await http.post("/chat/completions", json={**body, "max_tokens": 10**9})
            assert (broke.status_code, broke.json()["error"]["type"]) == (429, "insufficient_quota")
            assert (await http.post("/chat/completions", json={**body, "max_tokens": 0})).status_code == 400
            assert (await http.post("/chat/completions", json=body)).status_code == 200
            late = await http.post("/chat/completions", json=body)
            assert (late.status_code, late.json()["error"]["code"]) == (429, "rate_limited")
            assert int(late.headers["retry-after"]) <= 60
            assert (await http.get(url.removesuffix("/v1") + "/metrics")).status_code == 403
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.post("/chat/completions", json=body)).status_code == 401
            assert (await http.get(url.removesuffix("/v1") + "/health")).status_code == 200
