from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from rung.core.errors import InputError
from rung.core.types.memory import MemoryItem
from rung.models.providers.fake import Fake
from rung.serving.http.app import Served, make_app
from rung.serving.http.limits import Limits
from rung.serving.http.process.server import address, listen, running
from rung.serving.quality.forget import forget_subject
from rung.serving.quality.record import Recorder
from rung.store import open_store
from tests.serving.loopback import bare

pytestmark = pytest.mark.server


async def test_all_of_a_person_is_deleted_and_nothing_of_others(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rung.db'}"
    with open_store(url) as store:
        served = Served([bare(Fake())], limits=Limits(grace=1), recorder=Recorder(store), subject=store.subjects.mark)
        bound = listen("127.0.0.1", 0)
        async with running(make_app(served, warm_up=False), bound), httpx.AsyncClient(base_url=address(bound)) as http:
            ids = []
            for user, text in (
                ("ann", "canary-ann one"),
                ("bob", "canary-bob"),
                ("ann", "canary-ann two"),
                (None, "nobody"),
            ):
                body: dict[str, Any] = {"model": "fake:echo", "messages": [{"role": "user", "content": text}]}
                reply = await http.post("/chat/completions", json={**body, **({"user": user} if user else {})})
                ids.append(reply.json()["id"])
        await store.settle()
        rows = tmp_path / "rows.jsonl"
        rows.write_text(
            "".join(
                json.dumps({"messages": [], "rung": {"id": f"served:{id}", "source": {"served": id}}}) + "\n"
                for id in ids
            )
        )
        memories = store.episodes.memories
        for user in ("ann", "bob"):
            said = f"the canary of {user}"
            memories.keep([MemoryItem(user, "facts", user, "fact", said, said, "person", 0, len(said), at=1.0)])
        counted = forget_subject(store, "ann", [rows], dry=True)
        assert (len(counted.forgotten.served), counted.remembered, counted.rows) == (2, 1, ((rows, 2),))
        with pytest.raises(InputError):
            forget_subject(store, "ann", [rows, tmp_path / "missing.jsonl"])
        assert len(list(store.served.all())) == 4  # nothing happened by halves
        receipt = forget_subject(store, "ann", [rows])
        assert (len(receipt.forgotten.served), receipt.remembered) == (2, 1)
        assert (len(memories.of("ann")), len(memories.of("bob"))) == (0, 1)
        left = [json.loads(line)["rung"]["source"]["served"] for line in rows.read_text().splitlines()]
        assert left == [ids[1], ids[3]]
        assert {row.id for row in store.served.all()} == {ids[1], ids[3]}
        assert forget_subject(store, "ann", [rows]).forgotten.total == 0
        mark = store.subjects.mark("ann")
        assert mark != store.subjects.mark("bob")
    with open_store(url) as again:
        assert again.subjects.mark("ann") == mark
    everything = b"".join(file.read_bytes() for file in tmp_path.glob("rung.db*"))
    assert b"canary-ann" not in everything
    assert b"canary-bob" in everything


def test_nobody_is_not_a_person(tmp_path: Path) -> None:
    """Episodes and memories without a user are not taken for one person's."""
    with open_store(f"sqlite:///{tmp_path / 'rung.db'}") as store:
        said = "I like tea very much."
        store.episodes.memories.keep([MemoryItem("a", "facts", "", "fact", said, said, "person", 0, len(said), at=1.0)])
        for subject in ("", " "):
            with pytest.raises(InputError) as raised:
                forget_subject(store, subject, [])
            assert raised.value.code == "no-subject"
        assert len(store.episodes.memories.of("")) == 1
