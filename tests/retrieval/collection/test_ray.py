"""Builds on Ray Data: the same collection as a local build makes. Without Ray the two steps run here, one after the other."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rung.core.errors import InputError, MissingExtra
from rung.core.system.ray import apply, packed, unpacked
from rung.core.types import Document, Passage, Progress
from rung.documents import Source
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.ingest import ray as steps
from rung.retrieval.collection.ingest.build import BuildOptions
from rung.retrieval.collection.ingest.ray import Part, Tools, make, read


def here(sources: Sequence[tuple[Source, Mapping[str, bytes]]], tools: Tools) -> Iterator[Part]:
    """What ``prepare`` does, without Ray: each table of a step is given to the next."""
    for place, (source, known) in enumerate(sources):
        for part in apply(packed((place, source, dict(known))), read):
            for done in apply(part, partial(make, tools=tools)):
                yield from unpacked(done)


@pytest.fixture(
    params=[
        "steps",
        pytest.param("ray", marks=pytest.mark.skipif(not find_spec("ray"), reason="needs: pip install 'rung[ray]'")),
    ]
)
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "steps":
        monkeypatch.setattr(steps, "prepare", here)
        yield "steps"
        return
    import ray

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():  # one for all tests of this module
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=200 << 20,
            _node_ip_address="127.0.0.1",
        )
        request.session.addfinalizer(ray.shutdown)
    yield "ray"


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Otters\n\n" + "Otters hold hands while they sleep. " * 80)
    (folder / "b.txt").write_bytes("Größe und Maß, ein Café".encode("latin-1"))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    (folder / "program.txt").write_bytes(bytes(range(256)) * 20)
    (folder / "page.html").write_text("<h1>Kelp</h1><p>Kelp is an <b>alga</b>.</p>")
    rows = [{"id": f"r{n % 599}", "text": f"row {n} about birch {n * n}", "year": 2000 + n % 20} for n in range(600)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))  # three parts, an id twice
    return folder


def contents(collection: Collection) -> Any:
    """Everything of the truth, in its order, vectors bit by bit."""
    with collection.database.reading() as held:
        documents = list(held.each())
        vectors = {
            row: vector.tobytes()
            for rows, found in held.vectors(0, collection.dimensions)
            for row, vector in zip(rows.tolist(), found, strict=True)
        }
        names = held.names(sorted(vectors))
        stored = sorted((known.id, known.hash, known.source, known.stamp) for known in held.sources())
    return documents, vectors, names, stored


def test_the_result_is_that_of_a_local_build(docs: Path, tmp_path: Path, runner: str) -> None:
    seen: list[Progress] = []
    with Collection.create(tmp_path / "one") as one, Collection.create(tmp_path / "two") as two:
        local = one.build(docs)
        far = two.build(docs, seen.append, options=BuildOptions(on="ray"))
        assert (far.added, far.passages, far.embedded) == (local.added, local.passages, local.embedded)
        assert far.added == 603
        assert far.failures == local.failures
        assert {problem.file for problem in far.failures} == {"docs/broken.pdf", "docs/program.txt"}
        assert contents(two) == contents(one)
        assert two.search("sleeping otters") == one.search("sleeping otters")
        assert two.verify().damage == ()
    assert {at.stage for at in seen} == {"build", "write"}
    assert seen[-1].done == 603

    # Again: what is the same is neither cut nor embedded, whether the file was touched or not.
    os.utime(docs / "rows.jsonl", ns=(1, 1))
    (docs / "b.txt").unlink()
    (docs / "page.html").write_text("<h1>Kelp</h1><p>Kelp forests shrink.</p>")
    with Collection.open(tmp_path / "one") as one, Collection.open(tmp_path / "two") as two:
        local, far = one.build(docs), two.build(docs, options=BuildOptions(on="ray"))
        assert (far.added, far.updated, far.unchanged, far.deleted) == (0, 1, 601, 1)
        assert (local.added, local.updated, local.unchanged, local.deleted) == (0, 1, 601, 1)
        assert far.embedded == far.passages == 1
        assert contents(two) == contents(one)


def test_a_chunker_of_ones_own_goes_along(docs: Path, tmp_path: Path, runner: str) -> None:
    def halves(document: Document) -> list[Passage]:
        middle, end = len(document.text) // 2, len(document.text)
        spans = [(start, stop) for start, stop in ((0, middle), (middle, end)) if start < stop]
        return [
            Passage(f"{document.id}#{a}", document.id, a, b, document.text[a:b], document.metadata) for a, b in spans
        ]

    with Collection.create(tmp_path / "halves", embedder=None, chunker=halves) as made:
        assert made.build(docs / "a.md", options=BuildOptions(on="ray")).passages == 2
        assert made.build(docs / "a.md", options=BuildOptions(on="ray")).unchanged == 1


def test_what_a_worker_raises_arrives(docs: Path, tmp_path: Path, runner: str) -> None:
    def refuse(document: Document) -> list[Passage]:
        raise InputError(f"no {document.id}", remedy="leave it out")

    def rewrite(document: Document) -> list[Passage]:
        return [Passage(document.id, document.id, 0, 4, "what")]

    cases: list[tuple[Callable[[Document], list[Passage]], str]] = [
        (refuse, "no a.md"),
        (rewrite, "could not be resolved"),
    ]
    for cut, said in cases:
        with Collection.create(tmp_path / cut.__name__, embedder=None, chunker=cut) as made:
            with pytest.raises(InputError, match=said):
                made.build(docs / "a.md", options=BuildOptions(on="ray"))
            assert made.stats().generation == 0


def test_another_embedder_at_the_workers_is_refused(docs: Path) -> None:
    sources: list[tuple[Source, Mapping[str, bytes]]] = [(Source(docs / "a.md", "markdown", 10, 1, "a.md"), {})]
    with pytest.raises(InputError, match="not the one the collection was made with"):
        list(here(sources, Tools("recursive:200", "static", "another")))


def test_without_ray_it_is_said_what_to_type(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with Collection.create(tmp_path / "none", embedder=None) as made:
        with pytest.raises(MissingExtra) as raised:
            made.build(docs, options=BuildOptions(on="ray"))
        assert "rung[ray]" in raised.value.remedy
        with pytest.raises(InputError, match="expected local or ray"):
            made.build(docs, options=BuildOptions(on="mars"))
        assert made.build(docs).added == 603
