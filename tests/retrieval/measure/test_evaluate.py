"""BEIR folders read and searches compared, on a small judged set of texts whose right order is plain."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError
from rung.metrics.answers.ranking import Ndcg
from rung.retrieval.collection.collection import Collection
from rung.retrieval.measure.evaluate import METHODS, Judged, Method, evaluate, read, table, whole
from rung.retrieval.rank.options import SearchOptions

TOPICS = ("wing", "engine", "tunnel", "flutter", "boundary", "shock", "heat", "nozzle")


class Bag:
    """A vector of topic counts."""

    name = fingerprint = "bag"
    dimensions = len(TOPICS)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = np.array([[text.lower().count(topic) + 0.01 for topic in TOPICS] for text in texts], np.float32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def write(folder: Path, zipped: bool = False, nested: bool = False) -> Path:
    corpus = [
        {
            "_id": f"d{n}",
            "title": topic,
            "text": f"{topic} of an aircraft, number {n}, with more words behind it than one passage may have",
        }
        for n, topic in enumerate(TOPICS)
    ]
    corpus.append({"_id": "same", "title": "wing", "text": "wing after wing"})
    queries = [{"_id": f"q{n}", "text": f"the {topic}?"} for n, topic in enumerate(TOPICS)]
    queries.append({"_id": "lost", "text": "nothing is judged of this"})
    qrels = "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t2\n" for n in range(len(TOPICS)))
    qrels += "q0\tsame\t1\nq0\td5\t0\nq1\tgone\t1\n"
    lines = {
        "corpus.jsonl": "".join(json.dumps(row) + "\n" for row in corpus),
        "queries.jsonl": "".join(json.dumps(row) + "\n" for row in queries),
        "qrels/test.tsv" if nested else "qrels.tsv": qrels,
    }
    for name, text in lines.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if zipped and name.startswith("corpus"):
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
    return folder


@pytest.mark.parametrize(("zipped", "nested"), [(False, False), (True, True)])
def test_a_beir_folder_is_read(zipped: bool, nested: bool, tmp_path: Path) -> None:
    judged = read(write(tmp_path / "aero", zipped, nested))
    assert judged.name == "aero"
    assert len(judged.documents) == 9
    assert (
        judged.documents[0].text == "wing of an aircraft, number 0, with more words behind it than one passage may have"
    ), "a title is not said twice"
    assert set(judged.queries) == {f"q{n}" for n in range(8)}, "a query without judgements is left out"
    assert judged.relevant["q0"] == {"d0": 2, "same": 1}
    assert judged.unknown == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "b"}\nnot json\n', "corpus.jsonl:2: not a JSON value"),
        ("corpus.jsonl", "[]\n", "corpus.jsonl:1: got a list"),
        ("corpus.jsonl", '{"id": "a"}\n', "corpus.jsonl:1: there is no _id"),
        ("corpus.jsonl", '{"_id": "a"}\n{"_id": "a"}\n', "twice"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq0\td0\tgood\n", "qrels.tsv:2: expected query, document and score"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "no query"),
    ],
)
def test_a_wrong_file_is_said_with_its_line(name: str, text: str, said: str, tmp_path: Path) -> None:
    (write(tmp_path) / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read(tmp_path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    (write(tmp_path) / "queries.jsonl").unlink()
    with pytest.raises(InputError, match=r"no queries\.jsonl"):
        read(tmp_path)


@pytest.fixture
def judged(tmp_path: Path) -> Judged:
    return read(write(tmp_path / "aero"))


@pytest.fixture
def collection(judged: Judged, tmp_path: Path) -> Collection:
    made = Collection.create(tmp_path / "collection", embedder=Bag(), chunker=whole)
    made.add(judged.documents)
    return made


def test_methods_are_scored_on_the_same_queries(judged: Judged, collection: Collection) -> None:
    rows = evaluate(collection, judged.queries, judged.relevant)
    assert [row.method.name for row in rows] == [method.name for method in METHODS]
    for row in rows:
        assert {name: len(scores) for name, scores in row.scores.items()} == {
            "ndcg:10": 8,
            "recall:100": 8,
            "mrr:10": 8,
        }
        assert row.interval(Ndcg("10")).value > 0.9
        assert row.milliseconds > 0
        assert row.ranked["q3"][0] == "d3"
    lines = table(rows)
    assert lines[0][-1] == "ms"
    assert [line[-2] for line in lines[1:3]].count("best single") == 1
    other = replace(rows[1], method=replace(rows[1].method, group="another"))
    assert table([rows[1], other])[1][-2] == "", "a retriever of another group is not compared with"
    assert all(len(line) == len(lines[0]) for line in lines)


def test_a_worse_method_is_shown_to_be_worse(judged: Judged, collection: Collection) -> None:
    wrong = {id: f"aircraft {8 - int(id[1:])}" for id in judged.queries}
    good, bad = (
        evaluate(collection, queries, judged.relevant, [Method("words", SearchOptions(mode="keyword"), single=True)])[0]
        for queries in (judged.queries, wrong)
    )
    gap = bad.against(good, Ndcg("10"))
    assert gap.high < 0
    assert gap.n == 8


def test_a_document_stands_where_its_first_passage_does(judged: Judged, tmp_path: Path) -> None:
    made = Collection.create(tmp_path / "cut", embedder=Bag(), chunker="fixed:8:0")
    made.add(judged.documents)
    (row,) = evaluate(made, judged.queries, judged.relevant, [Method("dense", SearchOptions(mode="dense"))])
    assert len(made) > len(judged.documents)
    assert all(len(set(found)) == len(found) for found in row.ranked.values())
    assert set(row.ranked["q0"]) <= {document.id for document in judged.documents}


def test_the_command_compares_on_a_collection_of_ones_own(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Collection.create(tmp_path / ".rung/indexes/aero", embedder=None, chunker="recursive:200") as made:
        made.add(judged.documents)
    runner = CliRunner()
    shown = runner.invoke(app, ["index", "evaluate", "aero", "--collection", "aero"])
    assert shown.exit_code == 0, shown.output
    assert "9 documents, 8 queries, 1 judgements of documents that are not there" in shown.output
    assert "hybrid" not in shown.output, "a collection without vectors is searched by words only"
    told = runner.invoke(app, ["index", "evaluate", "aero", "--collection", "aero", "--json"])
    (row,) = json.loads(told.stdout)["rows"]
    assert row["method"] == "keyword"
    assert float(row["ndcg:10"].split()[0]) > 0.9
    wrong = runner.invoke(app, ["index", "evaluate", "aero", "--collection", "aero", "--embedder", "minilm"])
    assert isinstance(wrong.exception, InputError)
