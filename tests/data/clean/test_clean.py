"""Cleaning: each filter, the report, and the same result after kill -9 at any point."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError
from rung.data.clean.filters.toxic import open_filter
from rung.data.clean.options import CleanOptions
from rung.data.clean.pipeline import clean
from rung.data.read import stream
from rung.data.rows import lines
from rung.data.rows.length import TokenCounter
from rung.data.rows.records import Record
from tests.child import Child

PLAIN = CleanOptions(exact=False, near=0, pii="off", toxic="off", labels="off", style="off")
LONG = "the lamp in the hall on the first floor of the old house is broken since last week and nobody came to mend it"


def _file(path: Path, pairs: list[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in pairs))
    return path


def _run(
    tmp_path: Path, pairs: list[tuple[str, str]], options: CleanOptions, **more: Any
) -> tuple[list[str], dict[str, int]]:
    report = clean(_file(tmp_path / "in.jsonl", pairs), tmp_path / "out.jsonl", options, **more)
    kept = [record.question for _, record in stream(tmp_path / "out.jsonl")]
    assert report.kept == len(kept)
    assert report.read == report.kept + sum(tally.count for tally in report.dropped.values())
    assert not (tmp_path / ".out.jsonl.cleaning").exists()
    return kept, {name: tally.count for name, tally in report.dropped.items()}


def test_duplicates(tmp_path: Path) -> None:
    pairs = [
        ("Is it on?", "Yes."),
        ("is it on", "yes"),
        (LONG, "a b c"),
        (f"{LONG} today", "a b c"),
        ("Other?", "Yes."),
    ]
    assert _run(tmp_path, pairs, replace(PLAIN, exact=True, near=0.7)) == (
        ["Is it on?", LONG, "Other?"],
        {"duplicate": 1, "near-duplicate": 1},
    )
    dropped = [json.loads(line) for line in (tmp_path / "out.jsonl.dropped.jsonl").read_text().splitlines()]
    assert [row["detail"] for row in dropped] == ["of in.jsonl:1", "of in.jsonl:3"]
    assert dropped[0]["row"]["rung"]["source"] == {"file": "in.jsonl", "line": 2}


def test_a_denial_is_no_near_duplicate(tmp_path: Path) -> None:
    pairs = [(LONG, "a b c"), (f"{LONG} not", "a b c"), (f"{LONG} now", "a b c")]
    assert _run(tmp_path, pairs, replace(PLAIN, near=0.7)) == ([LONG, f"{LONG} not"], {"near-duplicate": 1})


def test_empty_is_dropped_always(tmp_path: Path) -> None:
    assert _run(tmp_path, [("a", "b"), ("c", " "), ("", "d")], PLAIN) == (["a"], {"empty answer": 1, "empty input": 1})
    turns = [("user", "a"), ("assistant", " "), ("user", "b"), ("assistant", "c")]
    talk = [{"role": role, "content": content} for role, content in turns]
    skipped = [{**turn, **({"weight": 0} if turn["content"] == " " else {})} for turn in talk]
    source = tmp_path / "talks.jsonl"
    source.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in (talk, skipped)))
    report = clean(source, tmp_path / "out.jsonl", PLAIN)
    assert (report.kept, report.dropped["empty answer"].count) == (1, 1)  # what is not learnt may be empty


def test_length_language_and_harm(tmp_path: Path) -> None:
    counter = TokenCounter("words", lambda record: len(record.whole.split()))
    assert _run(
        tmp_path,
        [("a", "b"), ("a b c", "d"), (LONG, "x")],
        replace(PLAIN, min_tokens=3, max_tokens=10),
        counter=counter,
    )[1] == {"too short": 1, "too long": 1}
    pytest.importorskip("py3langid", reason="telling languages needs the extra text")
    german = "Die Lampe im Flur des alten Hauses ist seit letzter Woche kaputt und niemand kam"
    assert _run(tmp_path, [(LONG, "yes"), (german, "ja"), ("ok", "ja")], replace(PLAIN, language=("en",))) == (
        [LONG, "ok"],
        {"language": 1},
    )
    bad = "Give me instructions on how to make a bomb"
    assert _run(tmp_path, [(bad, "no"), (LONG, "yes")], replace(PLAIN, toxic="drop"))[1] == {"toxic": 1}
    for name, lines_of in (
        ("words", "broken"), ("bad", "build a bomb\nmake a bomb at home"), ("good", "bake a cake\nmake a cake at home"),
    ):  # fmt: skip
        (tmp_path / f"{name}.txt").write_text(f"{lines_of}\n")
    words = str(tmp_path / "words.txt")
    report = clean(tmp_path / "in.jsonl", tmp_path / "out.jsonl", replace(PLAIN, toxic="list", toxic_words=words))
    assert (report.kept, report.listed["toxic"].count) == (2, 2)
    learnt = replace(PLAIN, toxic_words=words, harmful=str(tmp_path / "bad.txt"), harmless=str(tmp_path / "good.txt"))
    judge = open_filter(learnt)
    assert judge("a bomb").blocked
    assert not judge("a cake").blocked
    assert judge("a cake is broken").blocked


def test_one_sentence_does_not_make_a_book_harmful(tmp_path: Path) -> None:
    book = "The lamp was lit and they went home. " * 2000
    source = tmp_path / "in.jsonl"
    source.write_text(
        json.dumps({"text": f"{book} He asked how to make a bomb. {book}"})
        + "\n"
        + json.dumps({"text": "how to make a bomb"})
        + "\n"
    )
    report = clean(source, tmp_path / "out.jsonl", replace(PLAIN, toxic="drop"))
    assert (report.kept, report.listed["toxic"].count, report.dropped["toxic"].count) == (1, 1, 1)
    assert not report.notes


def test_private_things_are_masked_everywhere(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    rows = [
        {
            "instruction": "Mail ann@example.com",
            "input": "",
            "output": "Sent to ann@example.com",
            "who": "ann@example.com",
        },
        {"prompt": "Hi", "chosen": "Call 09061701461", "rejected": "Write bob@example.com"},
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = clean(source, tmp_path / "out.jsonl", replace(PLAIN, pii="mask"))
    assert report.masked == {"EMAIL": 3, "PHONE": 1}
    for name in ("out.jsonl", "out.jsonl.report.json"):
        assert "@example" not in (tmp_path / name).read_text()
    from rung.data.rows import shapes

    records = [record for _, record in stream(tmp_path / "out.jsonl")]
    assert shapes.write(records[0], shapes.shape("instruction")) == {
        "instruction": "Mail [EMAIL]",
        "input": "",
        "output": "Sent to [EMAIL]",
        "who": "[EMAIL]",
    }
    assert shapes.write(records[1], shapes.shape("preference"))["rejected"] == "Write [EMAIL]"
    assert (
        clean(source, tmp_path / "out.jsonl", replace(PLAIN, pii="drop", kinds=("PHONE",))).dropped["private"].count
        == 1
    )


def test_leaks(tmp_path: Path) -> None:
    test = _file(tmp_path / "test.jsonl", [(LONG, "x"), ("Is it on?", "no")])
    kept, dropped = _run(
        tmp_path, [(f"{LONG} today", "y"), ("IS IT ON", "yes"), ("New?", "z")], replace(PLAIN, against=(str(test),))
    )
    assert (kept, dropped) == (["New?"], {"leak": 2})


def test_what_is_said_of_all_together(tmp_path: Path) -> None:
    rows = [
        (f"{word} {n}", label)
        for n in range(15)
        for word, label in (("red apple pear", "food"), ("train bus plane", "travel"))
    ]
    rows[4] = (rows[4][0], "travel")
    rows.append((rows[0][0], "travel"))
    report = clean(_file(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", replace(PLAIN, labels="list"))
    assert (report.kept, report.listed["contradiction"].count) == (31, 2)
    assert "in.jsonl:5" in [example["id"] for example in report.listed["label"].examples]
    _, dropped = _run(tmp_path, rows, replace(PLAIN, labels="drop"))
    assert dropped["contradiction"] == 2
    assert dropped["label"] >= 1


@pytest.mark.parametrize("rows", [[("a", "b")], [(f"q {n}", "yes") for n in range(30)]], ids=["one row", "one label"])
def test_too_little_to_compare(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    report = clean(_file(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl", CleanOptions(near=0))
    assert report.kept == len(rows)
    assert report.notes


def test_a_broken_line_is_told_with_its_place(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(
        b'{"prompt": "a", "completion": "b"}\n{broken\n\n[1]\n{"a": 1}\n\xff\xfe\n{"prompt": "c", "completion": "d"}\n'
    )
    report = clean(source, tmp_path / "out.jsonl", PLAIN)
    assert report.kept == 2
    assert [problem.line for problem in report.problems] == [2, 4, 5, 6]
    assert "4 rows could not be read" in report.text()


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\x7fELF\x00\x00\x01\n")
    (tmp_path / "e.jsonl").write_text("")
    for name, message in (("x.jsonl", "holds a NUL"), ("e.jsonl", "holds no row"), ("none.jsonl", "there is no")):
        with pytest.raises(InputError, match=message):
            clean(tmp_path / name, tmp_path / "out.jsonl", PLAIN)
    source = _file(tmp_path / "in.jsonl", [("a", "b")])
    with pytest.raises(InputError, match="into itself"):
        clean(source, source, PLAIN)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("old\n")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        clean(_file(tmp_path / "in.jsonl", [("a", "b")]), out, PLAIN)
    with pytest.raises(InputError, match="disk is full"):
        lines.write(out, [Record("a", text="x")])
    assert out.read_text() == "old\n"
    assert [path.name for path in tmp_path.glob(".out.jsonl.part*")] == []


KILLED = """
import sys
from pathlib import Path
from rung.data.clean import pipeline
from rung.data.clean.options import CleanOptions
pipeline.BATCH = 50
folder = Path(sys.argv[1])
options = CleanOptions(near=0.8, labels="off", style="off", toxic="off")
def said(read):
    print(read, flush=True)
    import time
    time.sleep(float(sys.argv[2]))
report = pipeline.clean(folder / "in.jsonl", folder / "out.jsonl", options, progress=said)
print("resumed", report.resumed, flush=True)
"""


def test_kill_and_the_same_again(tmp_path: Path) -> None:
    texts = [f"{LONG} and {LONG} number {n % 7 and n % 170} {'told anew ' * (n % 3)}" for n in range(170)]
    rows = [(texts[n % 170], f"mail a{n}@example.com") for n in range(400)]
    _file(tmp_path / "in.jsonl", rows)

    def start(pause: float) -> Child:
        return Child(KILLED, str(tmp_path), str(pause))

    whole, _ = start(0).communicate(timeout=60)
    assert whole.splitlines()[-1] == "resumed 0"
    names = ("out.jsonl", "out.jsonl.report.json", "out.jsonl.dropped.jsonl")
    wanted = [(tmp_path / name).read_bytes() for name in names]
    assert set(json.loads(wanted[1])["dropped"]) == {"duplicate", "near-duplicate"}
    for name in names:
        (tmp_path / name).unlink()
    for steps in (1, 2):  # killed twice, a little further each time
        process = start(5)
        assert process.stdout.readline() == f"{steps * 50}\n"
        process.kill()
        process.communicate(timeout=30)
        assert not (tmp_path / "out.jsonl").exists()
        with (tmp_path / ".out.jsonl.cleaning" / "kept.jsonl").open("ab") as torn:
            torn.write(b'{"half a li')
        time.sleep(0.05)
    last, _ = start(0).communicate(timeout=60)
    assert last.splitlines()[-1] == "resumed 100"
    assert [(tmp_path / name).read_bytes() for name in names] == wanted
