from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError

WORDS = "man 1 0 0 1\nwoman -1 0 0 1\nking 1 2 0 1\nqueen -1 2 0 1\nboy 1 0 2 1\ngirl -1 0 2 1\napple 0 0 0 -1\n"


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "cache"))
    Path("w.vec").write_text(WORDS)
    return "words:w.vec"


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["vectors", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_one_question_at_a_time(vectors: str) -> None:
    assert run("eval", "king - man + woman", "-e", vectors).split()[1] == "queen"
    assert run("analogy", "man:woman::boy:?", "-e", vectors, "-k", "1").split()[1] == "girl"
    found = json.loads(run("nearest", "King", "-e", vectors, "-k", "2", "--json"))
    assert len(found) == 2
    assert "king" not in [item["word"] for item in found]


def test_files(vectors: str) -> None:
    Path("q.txt").write_text(": family\nman woman king queen\nman woman boy girl\n")
    table = run("analogies", "q.txt", "-e", vectors).splitlines()
    assert table[1].split()[:4] == ["family", "2", "2", "1.000"]
    assert table[2].startswith("all")
    (row,) = json.loads(run("offsets", "q.txt", "-e", vectors, "--json"))
    assert row["pairs"] == 3
    assert row["cosine"] > row["shuffled"]
    Path("s.txt").write_text("king queen 9\nboy girl 8\nking apple 1\nman apple 2\n")
    (row,) = json.loads(run("similarity", "s.txt", "-e", vectors, "--json"))
    assert row["known"] == 4
    assert row["spearman"]["value"] > 0.5


def test_a_fitted_embedder_opens_under_the_name_that_is_printed(vectors: str) -> None:
    Path("corpus.txt").write_text("the king and queen\na man and a boy\n")
    said = run("fit", "tfidf", "corpus.txt", "--to", "out/t.npz")
    assert said.startswith("tfidf:out/t.npz: ")
    name = run("fit", f"{vectors}?pooling=sif", "corpus.txt", "--to", "sif.npz").partition(": ")[0]
    assert json.loads(run("nearest", "king", "-e", name, "-k", "1", "--json"))[0]["word"] in WORDS


def test_two_spaces_are_aligned(vectors: str) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 5))
    turned = rows @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
    for name, table in (("e", rows), ("f", turned)):
        Path(f"{name}.vec").write_text(
            "\n".join(f"{name}{i} " + " ".join(map(str, row)) for i, row in enumerate(table))
        )
    Path("lexicon.tsv").write_text("\n".join(f"e{i}\tf{i}" for i in range(40)))
    (row,) = json.loads(run("align", "words:e.vec", "words:f.vec", "lexicon.tsv", "--json"))
    assert row["precision@1"]["value"] == 1.0


def test_mistakes_end_in_what_to_type(vectors: str) -> None:
    for arguments in (["eval", "king -"], ["analogy", "man"], ["nearest", "quen"], ["similarity", "nowhere.txt"]):
        with pytest.raises(InputError) as caught:
            CliRunner().invoke(app, ["vectors", *arguments, "-e", vectors], catch_exceptions=False)
        assert caught.value.remedy
