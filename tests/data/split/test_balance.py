"""Kinds that count alike and kinds that are held out."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from rung.core.types import Message
from rung.data.read import stream
from rung.data.rows.lines import write
from rung.data.rows.records import Record
from rung.data.split.balance import cap, choose, sort, thin
from rung.data.split.options import SplitPlan
from rung.data.split.profile import assign, evenness
from rung.data.split.split import split

ASK = {
    "translate": "Translate the sentence about {} into French.",
    "summarize": "Summarize the article about {}.",
    "classify": "Classify the sentiment of this review of {}.",
    "list": "List five uses of {}.",
    "write": "Write a poem about {}.",
    "explain": "Explain {} to a child.",
}
SIZES = {"translate": 90, "summarize": 40, "classify": 30, "list": 20, "write": 12, "explain": 8}
_draw = random.Random(0)
WORDS = ["".join(_draw.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(400)]


def rows(sizes: dict[str, int] = SIZES, start: int = 0) -> list[Record]:
    out = []
    for name, size in sizes.items():
        for number in range(start, start + size):
            things = " and ".join(random.Random(f"{name}{number}").sample(WORDS, 6))
            talk = (Message("user", ASK[name].format(things)), Message("assistant", f"{things}, at length."))
            out.append(Record(f"{name}-{number}", talk, extra={"category": name.upper()}))
    return out


def test_rows_are_sorted_by_rule_key_label_or_words() -> None:
    records = rows()
    assert sort(records, "kind") == [record.id.partition("-")[0] for record in records]
    assert sort(records, "category") == [record.id.partition("-")[0].upper() for record in records]
    assert sort(records, "label")[0].endswith("at length.")
    with pytest.raises(InputError, match="no row has 'topic'"):
        sort(records, "topic")


def test_clusters_are_named_by_their_words_for_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    themes = {"soup": "salt onion broth spoon boil", "ship": "anchor harbour sail mast deck"}
    draw = random.Random(1)
    texts = [
        f"{theme} {' '.join(draw.choices(words.split(), k=6))}" for theme, words in themes.items() for _ in range(60)
    ]
    for most in (5000, 40):  # all of them, or drawn ones and the rest told by them
        monkeypatch.setattr("rung.data.split.profile.ROWS", most)
        said = assign(texts, most=2)
        assert len(set(said)) == 2
        agree = Counter(zip(said, [text.split()[0] for text in texts], strict=True))
        assert sorted(agree.values()) == [60, 60]
    assert assign(["a"] * 5) == [""] * 5


def test_the_cap_is_the_largest_that_is_even_enough() -> None:
    for counts in (SIZES, {"a": 1000, "b": 3, "c": 3}, {"a": 5, "b": 5}, {"a": 7}):
        most = cap(counts, keep=0)
        even = [evenness([min(size, n) for size in counts.values()]) or 1.0 for n in (most, most + 1)]
        assert even[0] >= 0.9
        assert most == max(counts.values()) or even[1] < 0.9
    # Half of the rows stay, however rare some kinds are.
    assert cap({"a": 1000, "b": 3, "c": 3}) == 497
    assert cap(SIZES) == cap(SIZES, keep=0)


def test_the_same_rows_stay_when_others_come_before_them() -> None:
    records = rows()
    groups = sort(records, "kind")
    kept = {record.id for record, one in zip(records, thin(records, groups, 10), strict=True) if one}
    assert Counter(id.partition("-")[0] for id in kept) == {name: min(size, 10) for name, size in SIZES.items()}
    backwards = records[::-1]
    again = {r.id for r, one in zip(backwards, thin(backwards, groups[::-1], 10), strict=True) if one}
    assert kept == again
    assert kept != {r.id for r, one in zip(records, thin(records, groups, 10, seed=1), strict=True) if one}


def test_kinds_are_drawn_to_about_the_share() -> None:
    total = sum(SIZES.values())
    drawn = {choose(SIZES, 0.2, seed) for seed in range(20)}
    assert len(drawn) > 3
    for names in drawn:
        assert 0.04 < sum(SIZES[name] for name in names) / total < 0.36
    assert choose({"a": 100, "b": 100, "other": 500}, 0.01) in (("a",), ("b",))
    assert len(choose({"a": 10, "b": 10}, 0.99)) == 1  # never all
    with pytest.raises(InputError, match="one kind"):
        choose({"a": 10, "other": 5}, 0.2)


def test_held_kinds_are_whole_and_nowhere_else(tmp_path: Path) -> None:
    records = rows()
    found = split(records, tmp_path / "parts", SplitPlan(hold=0.2))
    parts = {
        name: [r for _, r in stream(tmp_path / "parts" / f"{name}.jsonl")] for name in ("train", "dev", "test", "held")
    }
    assert sum(len(part) for part in parts.values()) == len(records)
    where = {name: {sort([record], "kind")[0] for record in part} for name, part in parts.items()}
    assert where["held"] == set(found.held)
    assert not where["held"] & (where["train"] | where["dev"] | where["test"])
    assert {record.source["kind"] for record in parts["held"]} == set(found.held)
    assert len(parts["held"]) == sum(SIZES[name] for name in found.held)
    assert found.counts["held"] == len(parts["held"])
    # More rows: the same kinds are held, and what was drawn stays.
    more = split([*records, *rows(dict.fromkeys(SIZES, 60), start=500)], tmp_path / "parts", SplitPlan(hold=0.2))
    assert more.held == found.held
    after = {name: {r.id for _, r in stream(tmp_path / "parts" / f"{name}.jsonl")} for name in ("train", "dev", "test")}
    for name, ids in after.items():
        assert {record.id for record in parts[name]} <= ids
    with pytest.raises(InputError, match="frozen with another held kinds"):
        split(records, tmp_path / "parts", SplitPlan(hold=0.3))


def test_what_is_alike_to_a_held_row_is_in_no_split(tmp_path: Path) -> None:
    records = rows()
    text = "a very long passage about boats and their builders in the north " * 3
    twins = [
        Record("t1", (Message("user", f"Translate: {text}"), Message("assistant", "x"))),
        Record("t2", (Message("user", f"Summarize: {text}"), Message("assistant", "y"))),
    ]
    found = split([*records, *twins], tmp_path / "parts", SplitPlan(hold=["translate"]))
    assert found.held == ("translate",)
    ids = {
        name: {r.id for _, r in stream(tmp_path / "parts" / f"{name}.jsonl")}
        for name in ("train", "dev", "test", "held")
    }
    assert "t1" in ids["held"]
    assert all("t2" not in part for part in ids.values())
    assert found.left == 1
    with pytest.raises(InputError, match="no row is of the kind 'sing'"):
        split(records, tmp_path / "other", SplitPlan(hold=["sing"]))


def test_a_late_twin_of_a_held_kind_does_not_leak(tmp_path: Path) -> None:
    text = "a very long passage about boats and their builders in the north " * 3
    early = Record("t2", (Message("user", f"Summarize: {text}"), Message("assistant", "y")))
    late = Record("t1", (Message("user", f"Translate: {text}"), Message("assistant", "x")))
    split([*rows(), early], tmp_path / "parts", SplitPlan(hold=["translate"]))
    split([*rows(), early, late], tmp_path / "parts", SplitPlan(hold=["translate"]))
    ids = {
        name: {r.id for _, r in stream(tmp_path / "parts" / f"{name}.jsonl")}
        for name in ("train", "dev", "test", "held")
    }
    assert sum("t2" in part for part in ids.values()) == 1
    assert "t1" not in ids["held"]
    assert all("t1" not in part for part in ids.values())


def test_train_is_balanced_and_dev_and_test_are_as_they_were(tmp_path: Path) -> None:
    plain = split(rows(), tmp_path / "plain")
    even = split(rows(), tmp_path / "even", SplitPlan(balance="kind"))
    for name in ("dev", "test"):
        assert even.hashes[f"{name}.jsonl"] == plain.hashes[f"{name}.jsonl"]
    kinds = Counter(sort([r for _, r in stream(tmp_path / "even" / "train.jsonl")], "kind"))
    assert max(kinds.values()) == even.most
    before, after = even.even
    assert before is not None
    assert after is not None
    assert before < 0.9 <= after
    assert evenness(list(kinds.values())) == pytest.approx(after)
    assert even.spare == plain.counts["train"] - even.counts["train"] > 0
    few = split(rows(), tmp_path / "even", SplitPlan(balance="category", most=5))
    assert few.most == 5
    assert few.counts["train"] == 30


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("rows.jsonl"), iter(rows()))

    def rung(*said: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["data", "split", "rows.jsonl", *said])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code
        return result.output

    out = rung("--to", "parts", "--hold-kinds", "0.2", "--balance", "kind", "--most", "10")
    assert "held out: " in out
    assert "train has at most 10 rows of each kind: evenness" in out
    assert json.loads(Path("parts/kinds.json").read_text())["held"]
    assert "held out: list, write" in rung("--to", "named", "--hold-kinds", "write, list")
    for said, why in (
        (("--hold-kinds", "1.5"), "is 1.5"),
        (("--hold-kinds", "0.2", "--kinds", "cluster"), "clusters change"),
        (("--most", "3"), "not of what"),
    ):
        with pytest.raises(InputError, match=why):
            rung("--to", "no", *said)
