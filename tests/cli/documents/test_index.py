"""``rung index`` and ``rung search`` as they are typed."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError, MissingExtra, RungError, StoreError
from rung.core.settings import Settings
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.folders import locate
from tests.child import RUNG, Child


@pytest.fixture(autouse=True)
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "otter.md").write_text("# Otters\n\nOtters hold hands while they sleep.\n")
    (folder / "swift.txt").write_text("Swifts sleep on the wing.")
    rows = ({"text": "kelp is an alga", "year": 2019}, {"text": "kelp forests shrink", "year": 2022})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def build(*words: str) -> str:
    return run("index", "build", "docs", "--to", "animals", "--embedder", "none", *words)


def test_from_a_folder_to_hits(docs: Path) -> None:
    assert "animals: 4 added, 0 updated, 0 unchanged, 0 deleted" in build()
    assert "0 added, 0 updated, 4 unchanged" in build()
    (docs / "swift.txt").unlink()
    (docs / "otter.md").write_text("# Otters\n\nOtters juggle stones.\n")
    assert "0 added, 1 updated, 2 unchanged, 1 deleted" in build("--chunk", "recursive:200")
    assert "docs/otter.md" in run("search", "animals", "juggling otters", "--mode", "keyword")
    hits = json.loads(run("search", "animals", "kelp", "--where", "year>=2020", "--json", "--mode", "keyword"))
    (hit,) = hits
    text = hit["passage"]["text"]
    assert "forests" in text
    assert [text[span["start"] : span["end"]] for span in hit["highlights"]] == ["kelp"]
    assert set(hit["parts"]) == {"keyword"}
    assert "nothing found" in run("search", "animals", "zebra", "--mode", "keyword", code=1)


def test_list_stats_verify_compact_drop() -> None:
    assert "no collections" in run("index", "list")
    build()
    assert "animals" in run("index", "list")
    assert json.loads(run("index", "stats", "animals", "--json"))["documents"] == 4
    assert "passages" in run("index", "stats", "animals")
    assert run("index", "verify", "animals") == "animals: whole\n"
    side = Path(".rung/indexes/animals/vectors.bin")
    side.write_bytes(b"x" + side.read_bytes()[1:])
    assert "made again: vectors.bin: the checksum" in run("index", "verify", "animals")
    assert "now" in run("index", "compact", "animals")
    truth = side.with_name("collection.db")
    truth.write_bytes(truth.read_bytes().replace(b"hold hands", b"HOLD HANDS"))
    assert "is not what was written" in run("index", "verify", "animals", code=1)
    assert "deleted" in run("index", "drop", "animals", "--yes")
    assert not side.parent.exists()


def test_what_is_wrong_is_said() -> None:
    build()
    for words, said in (
        (("search", "animal", "x"), "did you mean animals"),
        (("search", "animals", "x", "--mode", "fuzzy"), "one of hybrid, dense, keyword"),
        (("search", "animals", "x", "--mode", "dense"), "no vectors"),
        (("search", "animals", "x", "--where", "year >"), "type for instance"),
        (("index", "build", "nowhere", "--to", "new"), "there is no nowhere"),
        (("index", "build", "docs", "--to", "a/b"), "expected letters"),
        (("index", "build", "docs", "--to", "animals", "--chunk", "fixed:64"), "rung index build DOCS --to OTHER"),
        (("index", "build", "docs", "--to", "animals", "--backend", "exact"), "rung index drop"),
        (("index", "stats", "nope"), "no collection"),
    ):
        with pytest.raises(InputError) as found:
            run(*words)
        assert said in str(found.value)
    assert not Path(".rung/indexes/new").exists()


def test_what_cannot_be_read_is_told(docs: Path) -> None:
    (docs / "bad.pdf").write_bytes(b"%PDF-1.4 nonsense")
    assert "left out docs/bad.pdf" in build()
    with pytest.raises(RungError):
        run("index", "build", "docs/missing.txt", "--to", "animals")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_a_watched_folder(docs: Path) -> None:
    pytest.importorskip("watchfiles")
    process = Child(
        f"import sys; sys.stdout.reconfigure(line_buffering=True); {RUNG}",
        *("index", "build", "docs", "--to", "live", "--embedder", "none", "--watch"),
    )
    try:
        assert "4 added" in process.stdout.readline()
        assert "watching" in process.stderr.readline()
        (docs / "new.txt").write_text("Zebras have stripes.")
        assert "1 added" in process.stdout.readline()
        assert "docs/new.txt" in run("search", "live", "zebra", "--mode", "keyword")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def test_a_first_build_that_takes_nothing_in_leaves_nothing(docs: Path) -> None:
    bad = docs.parent / "bad"
    bad.mkdir()
    with pytest.raises(InputError, match="holds no file that can be read"):
        run("index", "build", "bad", "--to", "animals", "--embedder", "none")
    (bad / "program.txt").write_bytes(bytes(range(256)) * 20)
    assert "left out bad/program.txt: is not text" in run(
        "index", "build", "bad", "--to", "animals", "--embedder", "none", code=1
    )
    with pytest.raises(InputError, match="unknown index 'nosuch'"):
        run("index", "build", "docs", "--to", "animals", "--backend", "nosuch")
    with pytest.raises(InputError, match="without vectors it would be empty"):
        build("--backend", "exact")
    assert "no collections" in run("index", "list")
    assert "4 added" in build()  # and nothing is held against it
    shutil.rmtree(docs)
    docs.mkdir()
    with pytest.raises(InputError):
        build()
    assert "otter" in run("search", "animals", "otters", "--mode", "keyword")  # what was there stays


def test_a_guessed_encoding_is_told(docs: Path) -> None:
    (docs / "old.txt").write_bytes("Gr\xf6\xdfe und Ma\xdf, caf\xe9".encode("latin-1"))
    said = build()
    assert "5 added" in said
    assert "note: docs/old.txt:1: is not UTF-8: read as" in said
    assert "note:" not in build()


def test_where_a_build_runs_is_checked_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match="--on ray needs"):
        build("--on", "ray")
    with pytest.raises(InputError, match="expected local or ray"):
        build("--on", "mars")
    assert "no collections" in run("index", "list")


def test_a_collection_whose_server_is_gone_can_be_dropped(docs: Path, tmp_path: Path) -> None:
    with Collection.create(locate("far", Settings().home)) as made:
        made.build(docs)
        with made.database.writing() as held:  # as if it had been built while the server was there
            held.set("index", "qdrant:http://127.0.0.1:1/x")
    with pytest.raises(StoreError, match="cannot be deleted") as raised:
        run("index", "drop", "far", "--yes")
    assert "rung index drop far --leave" in raised.value.remedy
    assert "far: deleted" in run("index", "drop", "far", "--yes", "--leave")
    assert "no collections" in run("index", "list")
