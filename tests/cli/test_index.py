"""``rung index`` and ``rung search`` as they are typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError, RungError


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
    assert "made again: vectors.bin: checksum" in run("index", "verify", "animals")
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
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "rung.cli.main",
            "index",
            "build",
            "docs",
            "--to",
            "live",
            "--embedder",
            "none",
            "--watch",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "4 added" in process.stdout.readline()
        assert "watching" in process.stderr.readline()
        time.sleep(1.0)  # until the system's watch is set up
        (docs / "new.txt").write_text("Zebras have stripes.")
        assert "1 added" in process.stdout.readline()
        assert "docs/new.txt" in run("search", "live", "zebra", "--mode", "keyword")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
