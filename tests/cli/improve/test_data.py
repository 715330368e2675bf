"""``rung data`` from the shell: from a table, documents, mails and a run to files to train on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from rung.data.read import stream


def rung(*said: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(said))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_MODEL", "fake:echo")


def test_from_a_table_to_files(tmp_path: Path) -> None:
    rows = [
        {"text": f"Where is parcel {n * 7919}, ordered {n} days ago?", "label": "delivery" if n % 2 else "stock"}
        for n in range(60)
    ]
    Path("rows.json").write_text(json.dumps([*rows, rows[0]]))
    assert "61 rows" in rung(
        "data", "import", "rows.json", "--question", "text", "--answer", "label", "--to", "rows.jsonl"
    )
    out = rung("data", "clean", "rows.jsonl", "--to", "clean.jsonl", "--near", "0", "--max-tokens", "200")
    assert "1  duplicate" in out
    assert "Tokens are those of fake:echo" in out
    assert json.loads(Path("clean.jsonl.report.json").read_text())["kept"] == 60
    assert "60 rows" in rung("data", "profile", "clean.jsonl", "--report", "p.html")
    assert Path("p.html").read_text().startswith("<!doctype html>")
    assert json.loads(rung("data", "profile", "clean.jsonl", "--json"))["labels"] == {"stock": 30, "delivery": 30}
    assert "train" in rung("data", "split", "clean.jsonl", "--to", "parts", "--near", "0")
    assert "48 rows" in rung("data", "export", "parts/train.jsonl", "--to", "train.csv", "--shape", "prompt")
    assert Path("train.csv").read_text().startswith("prompt,completion")


def test_documents_mails_and_chats(tmp_path: Path) -> None:
    Path("docs").mkdir()
    Path("docs/faq.md").write_text("# Can I return it?\n\nYes.\n")
    rung("data", "import", "docs", "--as", "faq", "--to", "a.jsonl")
    Path("c.csv").write_text("author,time,text\nann,2026-01-01,Hi\nme,2026-01-02,Hello\n")
    rung("data", "import", "c.csv", "--me", "me", "--gap", "48", "--to", "b.jsonl")
    assert [r.answer for file in ("a.jsonl", "b.jsonl") for _, r in stream(Path(file))] == ["Yes.", "Hello"]
    with pytest.raises(InputError, match="whose turns"):
        rung("data", "import", "c.csv", "--to", "b.jsonl")


def test_answers_of_a_run() -> None:
    rung("climb", "support-intent", "--rung", "rules", "--limit", "8", "--quiet", "-m", "fake:echo")
    out = rung("data", "import", "--run", "last", "--rung", "rules", "--every", "--to", "run.jsonl")
    records = [record for _, record in stream(Path("run.jsonl"))]
    assert f"{len(records)} rows" in out
    assert "do not judge what is trained on them by that test" in out
    first = records[0].source
    assert (first["rung"], first["corrected"]) == ("rules", False)
    Path("right.jsonl").write_text(json.dumps({"id": first["example"], "answer": "mine"}) + "\n")
    rung("data", "import", "--run", "last", "--rung", "rules", "--corrections", "right.jsonl", "--to", "run.jsonl")
    assert {r.source["example"]: r.answer for _, r in stream(Path("run.jsonl"))}[first["example"]] == "mine"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (("import", "--to", "x.jsonl"), "nothing was named"),
        (("import", "none.csv", "--to", "x.jsonl"), "there is no none.csv"),
        (("import", "a.csv", "--to", "x.csv"), "written as JSON Lines"),
        (("import", "a.csv", "--to", "x.jsonl", "--question", "q"), "is missing"),
        (("import", "a.csv", "--to", "x.jsonl"), "no row in it"),
        (("clean", "a.csv", "--to", "x.jsonl", "--near", "0.1"), "--near is 0.1"),
        (("clean", "a.csv", "--to", "x.jsonl", "--min-tokens", "9", "--max-tokens", "3"), "is below"),
        (("split", "a.csv", "--to", "x", "--shares", "half"), "--shares is 'half'"),
    ],
)
def test_mistakes(said: tuple[str, ...], message: str) -> None:
    Path("a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match=message):
        rung("data", *said)
    assert not Path("x.jsonl").exists()


@pytest.mark.parametrize("said", [("import", "--as", "poem"), ("clean", "--pii", "eat"), ("clean", "--toxic", "eat")])
def test_a_word_that_is_no_choice(said: tuple[str, ...]) -> None:
    Path("a.csv").write_text("x,y\n1,2\n")
    assert said[2] in rung("data", said[0], "a.csv", "--to", "x.jsonl", *said[1:], code=2)
    assert not Path("x.jsonl").exists()


def test_what_was_served_becomes_rows(tmp_path: Path) -> None:
    from rung.store import open_store

    store = f"sqlite:///{tmp_path / 'served.db'}"
    with pytest.raises(InputError, match="no row"):
        rung("data", "import", "--served", "all", "--store", store, "--to", "rows.jsonl")
    with open_store(store) as opened:
        for id, text in (("a", "hello"), ("b", "bye"), ("c", "cut")):
            finish = {"finish": "length"} if id == "c" else {}
            payload = {
                "program": "p",
                "messages": [{"role": "user", "content": text}],
                "answers": [{"text": text.upper(), **finish}],
            }
            opened.served.note(id, "rung/x", json.dumps(payload))
    Path("right.csv").write_text("id,answer\na,Hello!\n")
    said = rung(
        "data", "import", "--served", "rung/x", "--store", store, "--corrections", "right.csv", "--to", "rows.jsonl"
    )
    assert "1 rows, 2 left out" in said
    said = rung("data", "import", "--served", "all", "--every", "--store", store, "--to", "rows.jsonl")
    assert "2 rows, 1 left out" in said
    assert "c: the answer cannot be learnt: it ended by length" in said
    assert [record.answer for _, record in stream(Path("rows.jsonl"))] == ["HELLO", "BYE"]
    with pytest.raises(InputError, match="--corrections could be of"):
        rung("data", "import", "--served", "all", "--run", "last", "--corrections", "right.csv", "--to", "rows.jsonl")


def test_records_about_people_are_masked_and_the_search_is_measured(tmp_path: Path) -> None:
    row = {"prompt": "Who was seen on 3 May 2021?", "completion": "Fiona Marsh of 12 Mill Lane."}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n")
    assert "Fiona" in (rung("data", "clean", "rows.jsonl", "--to", "common.jsonl") and Path("common.jsonl").read_text())
    rung("data", "clean", "rows.jsonl", "--to", "masked.jsonl", "--records")
    (record,) = (record for _, record in stream(Path("masked.jsonl")))
    assert record.question == "Who was seen on [DATE]?"
    assert record.answer == "[NAME] of [PLACE]."
    Path("check.jsonl").write_text('{"marked": "Dr [[NAME|Marsh]] rang about [[ID|the usual]]"}\n')
    said = rung("data", "private", "check.jsonl")
    assert "NAME" in said
    assert "missed: ID 'the usual' in text 1" in said
    told = json.loads(rung("data", "private", "check.jsonl", "--json"))
    assert told["whole"]["found"] == 1
