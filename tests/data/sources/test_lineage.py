"""Consent and reviewer on rows made of served answers, and what is stale when a trace is deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rung.alignment.people import feedback
from rung.core.errors import InputError
from rung.core.parts.problem import Problems
from rung.core.types.trail import Driver, Event
from rung.data.rows.lines import write
from rung.data.sources.lineage import descendants, write_lineage
from rung.data.sources.traces import allowed, gather, read_reviews
from rung.store import open_store
from tests.command import rung


async def test_a_deleted_trace_makes_what_descends_from_it_stale(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rung.db'}"
    payload = json.dumps({"program": "p", "messages": [{"role": "user", "content": "q"}], "answers": [{"text": "a"}]})
    with open_store(url) as store:
        for at in range(4):
            store.served.note(f"c{at}", "rung/x", payload)
        await store.settle()
        trail = store.episodes.trail()
        await trail.append([Event("e1", 0, "begun", {"request": "words that must go"}, 1.0)], Driver("p", "title"))
        feedback.review(store, "c0", "ann", consent=True, score=1)
        feedback.review(store, "c1", "bob", consent=False, score=1)
        feedback.review(store, "c2", "ann", correction="b")
        with pytest.raises(InputError) as unknown:
            feedback.review(store, "c9", "ann")
        assert unknown.value.code == "unknown-answer"

        def rows(consented: bool) -> list[tuple[str, object, object]]:
            reviews, problems = read_reviews(store.signals.all()), Problems()
            mine = allowed(store.served.all(), reviews, problems, consented=consented)
            found = list(gather(mine, {}, problems, every=True, reviews=reviews))
            write(tmp_path / "rows.jsonl", found)
            return [(str(row.source["served"]), row.source["consent"], row.source["reviewer"]) for row in found]

        assert rows(True) == [("c0", True, "ann")]
        assert rows(False) == [("c0", True, "ann"), ("c2", None, "ann"), ("c3", None, "")]
        episode = {
            "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "episode": "e1",
        }
        (tmp_path / "agent.jsonl").write_text(json.dumps(episode))
        assert write_lineage(tmp_path / "out", [tmp_path / "rows.jsonl", tmp_path / "agent.jsonl"]) == 4
        assert write_lineage(tmp_path / "later", [], [tmp_path / "out", tmp_path], ["c3"]) == 4
        assert not any(one.gone for one in descendants([tmp_path], store.served.missing))

    def status() -> tuple[int, dict[str, list[str]]]:
        done = rung("data", "status", ".", "--json", "--store", url, folder=tmp_path)
        return done.returncode, {one["path"]: one["gone"] for one in json.loads(done.stdout)}

    assert rung("trace", "delete", "c2", "--store", url, folder=tmp_path).returncode == 0
    assert status() == (1, {"later": ["c2"], "out": ["c2"], "agent.jsonl": [], "rows.jsonl": ["c2"]})
    assert rung("trace", "delete", "e1", "--store", url, folder=tmp_path).returncode == 0
    assert status()[1] == {"later": ["c2", "e1"], "out": ["c2", "e1"], "agent.jsonl": ["e1"], "rows.jsonl": ["c2"]}
    assert b"words that must go" not in (tmp_path / "rung.db").read_bytes()
    gone = rung("trace", "delete", "c2", "--store", url, folder=tmp_path)
    assert gone.returncode != 0
    assert "Traceback" not in gone.stderr
    assert rung("feedback", "review", "c0", "--by", " ", "--store", url, folder=tmp_path).returncode == 2
    with pytest.raises(InputError):
        list(descendants([tmp_path / "nowhere"], lambda ids: set()))


def test_rows_that_cannot_be_read_have_no_lineage_and_stop_nothing(tmp_path: Path) -> None:
    talks = (
        "Human: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
        "Human: a\n\nAssistant: z\n\nHuman: y\n\nAssistant: x",
    )
    pair = dict(zip(("chosen", "rejected"), (f"\n\n{talk}" for talk in talks), strict=True))
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "episode": "e1"}
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps(pair)}\n{json.dumps(row)}\n")
    assert write_lineage(tmp_path / "out", [tmp_path / "rows.jsonl"]) == 1
