"""Recall against speed: true recall, every file form, and a picture that holds every point."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from rung.cli.main import app
from rung.core.errors import InputError, MissingExtra
from rung.retrieval.index import open_index
from rung.retrieval.index.backends.faiss import BACKEND
from rung.retrieval.measure.curve import draw, find_truth, make_clusters, measure, read_vectors, table
from tests.command import rung


def test_points_are_measured_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    rows = make_clusters(2020, 24)
    points = list(measure(["exact", "faiss:ivf?lists=40"], rows[20:], rows[:20], seconds=0.02))
    assert [point.setting for point in points] == ["", *(f"probe={n}" for n in BACKEND.sweep["faiss:ivf"][1])]
    assert points[0].recall == 1.0
    recalls = [point.recall for point in points[1:]]
    assert recalls == sorted(recalls)  # more lists read, more found
    assert recalls[0] < 0.95 < recalls[-1]
    assert all(point.single > 0 and point.batch > 0 and point.p99 > 0 and point.bytes > 0 for point in points)
    assert len(table(points, 10)) == len(points) + 1
    drawn = ElementTree.fromstring(draw(points, 10, "<a> & b"))
    assert len(drawn.findall(".//{*}circle/{*}title")) == len(points)


def test_recall_counts_true_neighbours_also_where_they_tie() -> None:
    rows = np.repeat(make_clusters(30, 8), 3, axis=0)  # every vector three times
    assert find_truth(rows, rows[:4], 2) == pytest.approx(np.ones(4), abs=1e-6)
    (point,) = measure(["exact"], rows, rows[:4], k=2, seconds=0.01)
    assert point.recall == 1.0


def test_vectors_are_read_from_files(tmp_path: Path) -> None:
    rows = make_clusters(20, 6)
    np.save(tmp_path / "a.npy", rows.astype(np.float16) * 3)
    assert read_vectors(tmp_path / "a.npy") == pytest.approx(rows, abs=2e-3)
    lengths = np.full((20, 1), 6, "<i4").view("<f4")
    np.hstack([lengths, rows.astype("<f4")]).tofile(tmp_path / "b.fvecs")
    assert read_vectors(tmp_path / "b.fvecs") == pytest.approx(rows, abs=1e-6)
    np.save(tmp_path / "holes.npy", np.vstack([rows, np.zeros((2, 6)), np.full((1, 6), np.nan)]))
    assert len(read_vectors(tmp_path / "holes.npy")) == 20
    np.save(tmp_path / "flat.npy", rows[0])
    (tmp_path / "torn.fvecs").write_bytes((tmp_path / "b.fvecs").read_bytes()[:-4])
    (tmp_path / "c.txt").write_text("1 2 3")
    for name in ("flat.npy", "torn.fvecs", "c.txt", "missing.npy"):
        with pytest.raises(InputError, match="cannot read vectors"):
            read_vectors(tmp_path / name)


def test_what_cannot_be_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = make_clusters(50, 8)
    with pytest.raises(InputError, match="rows and 0 queries"):
        list(measure(["exact"], rows, rows[:0]))
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.delitem(sys.modules, "usearch.index", raising=False)
    with pytest.raises(MissingExtra, match="usearch") as caught:
        list(measure(["hnsw"], rows, rows[:5]))
    assert "pip install 'rung[hnsw]'" in caught.value.remedy
    (left,) = measure(["hnsw", "exact"], rows, rows[:5], seconds=0.01, skip_missing=True)
    assert left.backend == "exact"


def test_a_table_of_the_user_is_not_emptied() -> None:
    pytest.importorskip("psycopg")
    from tests import postgres

    if postgres.binaries(vector=True) is None:
        pytest.skip("no Postgres with pgvector")
    rows = make_clusters(200, 8)
    with postgres.serve(vector=True) as url:
        spec = f"pgvector:{url}/mine"
        (point,) = measure([f"{spec}?index=exact"], rows[20:], rows[:20], seconds=0.02)
        assert (point.recall, point.bytes) == (1.0, 0)
        index = open_index(spec, Path("unused"), 8)
        assert len(index) == 0  # what the bench wrote is gone
        index.add(["a"], rows[:1])
        with pytest.raises(InputError, match="holds 1 rows, which the bench would delete"):
            list(measure([spec], rows, rows[:5]))
        assert len(index) == 1
        index.close()


def test_the_verb_prints_a_table_and_writes_the_picture(tmp_path: Path) -> None:
    picture = tmp_path / "p.svg"
    words = ["bench", "index", "--rows", "300", "--queries", "10", "--dimensions", "16", "--seconds", "0.01"]
    done = CliRunner().invoke(app, [*words, "--backends", "exact,exact?type=f16", "--to", str(picture)])
    assert done.exit_code == 0, done.output
    assert "recall@10" in done.stdout
    assert "exact?type=f16" in done.stdout
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    failed = rung("bench", "index", "--data", "nowhere", folder=tmp_path)
    assert failed.returncode == 2
    assert "there is no collection 'nowhere'" in failed.stderr
