"""The collection: what it finds, what it keeps through crashes, full disks, damage and two writers."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rung.core.errors import InputError, StoreError
from rung.core.types import Document, Passage, Progress
from rung.retrieval.collection.collection import Collection
from rung.retrieval.collection.database.verify import CollectionCheck
from rung.retrieval.collection.folders import find, locate, names
from rung.retrieval.collection.ingest.build import BuildOptions
from rung.retrieval.filter.conditions import predicate
from rung.retrieval.rank.options import Mode, SearchOptions
from tests.child import Child
from tests.retrieval.collection.material import WORDS, Hashed, made, paragraphs

MODES: tuple[Mode, ...] = ("dense", "keyword", "hybrid")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "c"


@pytest.fixture
def collection(folder: Path) -> Iterator[Collection]:
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs, wait=0.1) as opened:
        yield opened


def reopen(folder: Path, **options: Any) -> Collection:
    return Collection.open(folder, embedder=Hashed(), chunker=paragraphs, wait=0.1, **options)


def brute(documents: Sequence[Document], query: str, where: Any = None) -> list[tuple[str, float]]:
    """Every passage that passes the filter and its cosine with the query, best first."""
    embedder, passes = Hashed(), predicate(where)
    passages = [passage for document in documents for passage in paragraphs(document) if passes(document.metadata)]
    if not passages:
        return []
    scores = embedder.embed([passage.text for passage in passages]) @ embedder.embed([query])[0]
    pairs = zip((passage.id for passage in passages), scores.tolist(), strict=True)
    return sorted(pairs, key=lambda pair: -pair[1])


# ---------------------------------------------------------------- search


def test_dense_finds_what_brute_force_finds(collection: Collection) -> None:
    documents = made(200)
    collection.build(documents)
    for query in ("amber fjord", "kelp lagoon n17", "pebble"):
        hits = collection.search(query, SearchOptions(mode="dense", k=10))
        expected = brute(documents, query)
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected[:10]], abs=1e-6)
        truth = dict(expected)
        assert all(truth[hit.passage.id] == pytest.approx(hit.score, abs=1e-6) for hit in hits)
        assert all(hit.parts["dense"] == hit.score for hit in hits)


def test_hits_carry_text_metadata_spans_and_highlights(collection: Collection) -> None:
    collection.add([Document("a", "Nothing here\nThe Harbors of Kelp, and kelp's end", {"lang": "en"})])
    (hit,) = collection.search("harbor kelp", SearchOptions(mode="keyword", k=1))
    passage = hit.passage
    assert (passage.document, passage.start, passage.end) == ("a", 13, 48)
    assert passage.metadata == {"lang": "en"}
    document = collection.document("a")
    assert document is not None
    assert document.text[passage.start : passage.end] == passage.text
    assert [passage.text[span.start : span.end] for span in hit.highlights] == ["Harbors", "Kelp", "kelp"]
    assert set(hit.parts) == {"keyword"}
    assert collection.passages([passage.id, "nope"]) == [passage, None]


def test_hybrid_has_both_parts(collection: Collection) -> None:
    collection.build(made(60))
    hits = collection.search("amber n7", SearchOptions(k=5))
    assert len(hits) == 5
    assert any({"dense", "keyword"} <= set(hit.parts) for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("mode", ["dense", "keyword", "hybrid"])
def test_many_queries_at_once_are_the_single_ones(collection: Collection, mode: Any) -> None:
    collection.build(made(80))
    queries = ["amber birch", "orchid n3", "lagoon"]
    for where in (None, {"tenant": "a"}):
        search = SearchOptions(mode=mode, k=4, where=where)
        together = collection.search_many(queries, search)
        alone = [collection.search(query, search) for query in queries]
        assert [[hit.passage.id for hit in hits] for hits in together] == [
            [hit.passage.id for hit in hits] for hits in alone
        ]
    assert collection.search_many([], SearchOptions(mode=mode)) == []


def test_diversity_takes_another_passage_before_a_copy(collection: Collection) -> None:
    collection.add(
        [
            Document("one", "amber birch cedar"),
            Document("copy", "amber birch cedar"),
            Document("other", "amber birch delta ember fjord"),
        ]
    )
    plain = [hit.passage.document for hit in collection.search("amber birch cedar", SearchOptions(mode="dense", k=2))]
    spread = collection.search("amber birch cedar", SearchOptions(mode="dense", k=2, diversity=0.3))
    assert set(plain) == {"one", "copy"}
    assert {hit.passage.document for hit in spread} == {"one", "other"}


@pytest.mark.parametrize("mode", MODES)
def test_rerank_orders_anew(collection: Collection, mode: Mode) -> None:
    collection.build(made(60))
    query = "amber harbor kelp n7"
    plain = collection.search(query, SearchOptions(mode=mode, k=20, depth=20))
    hits = collection.search(query, SearchOptions(mode=mode, rerank="words", k=20, depth=20))
    assert {hit.passage.id for hit in hits} == {hit.passage.id for hit in plain}
    assert [hit.passage.id for hit in hits] != [hit.passage.id for hit in plain]
    scores = [hit.score for hit in hits]
    assert scores == [hit.parts["rerank"] for hit in hits] == sorted(scores, reverse=True)
    with pytest.raises(InputError, match="no reranker"):
        collection.search("amber", SearchOptions(mode=mode, rerank="magic"))


def test_searches_that_cannot_be_are_refused(collection: Collection) -> None:
    for search in (
        SearchOptions(mode="fuzzy"),  # type: ignore[arg-type]
        SearchOptions(fusion="x"),  # type: ignore[arg-type]
        SearchOptions(k=0),
        SearchOptions(weight=2.0),
        SearchOptions(diversity=-1.0),
        SearchOptions(where={"year": {"near": 3}}, mode="dense"),
    ):
        with pytest.raises(InputError):
            collection.search("amber", search)
    with pytest.raises(InputError, match="dimensions"):
        collection.nearest(np.ones((1, 5), np.float32))


def test_an_empty_collection_finds_nothing(collection: Collection) -> None:
    for mode in MODES:
        assert collection.search("amber", SearchOptions(mode=mode, where={"tenant": "a"})) == []
    assert collection.document("a") is None


_CONDITIONS = st.recursive(
    st.one_of(
        st.builds(lambda value: {"tenant": value}, st.sampled_from("abcz")),
        st.builds(lambda values: {"tenant": {"in": values}}, st.lists(st.sampled_from("abz"), max_size=3)),
        st.builds(
            lambda op, year: {"year": {op: year}},
            st.sampled_from(["gt", "gte", "lt", "lte", "ne"]),
            st.integers(1999, 2008),
        ),
        st.builds(lambda tag: {"tags": tag}, st.sampled_from("xyzw")),
        st.builds(lambda there: {"absent": {"exists": there}}, st.booleans()),
    ),
    lambda inner: st.one_of(
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda left, right: {**left, **right}, inner, inner),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collection, dict[str, Document]]]:
    documents = {document.id: document for document in made(150, lines=2)}
    with Collection.create(tmp_path_factory.mktemp("shared") / "c", embedder=Hashed(), chunker=paragraphs) as opened:
        opened.build(documents.values())
        for id in [f"d{number}" for number in range(0, 150, 11)]:  # deleted ones must not come back
            opened.delete([id])
            del documents[id]
        changed = Document("d1", "amber birch\nnew words", {"tenant": "b", "year": 1999})
        opened.upsert([changed])
        documents["d1"] = changed
        yield opened, documents


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=_CONDITIONS, query=st.sampled_from(["amber fjord", "kelp", "nectar orchid n12"]))
def test_filtered_search_is_brute_force(
    shared: tuple[Collection, dict[str, Document]], where: dict[str, Any], query: str
) -> None:
    collection, documents = shared
    expected = brute(list(documents.values()), query, where)
    hits = collection.search(query, SearchOptions(mode="dense", k=7, where=where))
    assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected[:7]], abs=1e-6)
    passes = predicate(where)
    every = collection.search(query, SearchOptions(mode="keyword", k=1000, where=where))
    wanted = set(query.split())
    assert {hit.passage.id for hit in every} == {
        passage.id
        for document in documents.values()
        if passes(document.metadata)
        for passage in paragraphs(document)
        if wanted & set(passage.text.split())
    }
    for hit in (*hits, *every):
        assert passes(hit.passage.metadata)


# ---------------------------------------------------------------- writing


def test_unchanged_content_is_not_embedded_again(folder: Path) -> None:
    embedder = Hashed()
    with Collection.create(folder, embedder=embedder, chunker=paragraphs) as collection:
        documents = made(20)
        assert collection.build(documents).embedded == 60
        embedder.asked.clear()
        built = collection.build(documents)
        assert (built.added, built.updated, built.unchanged, built.embedded) == (0, 0, 20, 0)
        assert embedder.asked == []
        lines = documents[3].text.split("\n")
        edited = Document("d3", "\n".join([lines[0], "a new line", lines[2]]), documents[3].metadata)
        built = collection.upsert([edited])
        assert (built.updated, built.passages, built.embedded) == (1, 3, 1)
        assert embedder.asked == ["a new line"]
        assert len(collection) == 60
        hits = collection.search(lines[0], SearchOptions(mode="dense", k=1))
        assert hits[0].score == pytest.approx(1.0, abs=1e-5)
        assert collection.verify() == type(collection.verify())()


def test_delete_and_metadata_change(collection: Collection) -> None:
    documents = made(10)
    collection.build(documents)
    assert collection.delete(["d1", "d2", "nope"]) == 2
    assert collection.document("d1") is None
    assert not [
        hit for hit in collection.search("n1", SearchOptions(mode="keyword", k=100)) if hit.passage.document == "d1"
    ]
    moved = Document("d3", documents[3].text, {"tenant": "elsewhere"})
    built = collection.upsert([moved])
    assert (built.updated, built.embedded) == (1, 0)  # the text is as it was
    hits = collection.search("amber", SearchOptions(mode="dense", where={"tenant": "elsewhere"}))
    assert {hit.passage.document for hit in hits} == {"d3"}
    stats = collection.stats()
    assert (stats.documents, stats.passages) == (8, 24)


def test_bad_documents_are_refused_and_nothing_is_written(collection: Collection) -> None:
    collection.add([Document("a", "amber")])
    before = collection.stats().generation
    with pytest.raises(InputError, match="already"):
        collection.add([Document("b", "birch"), Document("a", "cedar")])
    with pytest.raises(InputError, match="two documents"):
        collection.upsert([Document("b", "birch"), Document("b", "cedar")])
    for metadata in ({"x": {"deep": 1}}, {"x": float("nan")}, {"x": object()}):
        with pytest.raises(InputError, match="x"):
            collection.upsert([Document("b", "birch", metadata)])
    assert collection.stats().generation == before
    assert len(collection) == 1


def test_a_clashing_passage_id_is_refused(folder: Path) -> None:
    def same(document: Document) -> list[Passage]:
        return [Passage("p", document.id, 0, len(document.text), document.text)]

    with Collection.create(folder, embedder=Hashed(), chunker=same) as collection:
        collection.add([Document("a", "amber")])
        with pytest.raises(InputError, match=r"'p'.*taken"):
            collection.add([Document("b", "birch")])
        assert len(collection) == 1
        assert len(collection.search("amber birch", SearchOptions(k=5))) == 1


def test_a_chunker_that_rewrites_is_refused(folder: Path) -> None:
    def shout(document: Document) -> list[Passage]:
        return [Passage("p", document.id, 0, len(document.text), document.text.upper())]

    with (
        Collection.create(folder, embedder=Hashed(), chunker=shout) as collection,
        pytest.raises(InputError, match="citations"),
    ):
        collection.add([Document("a", "amber")])


class Wrong(Hashed):
    def __init__(self, give: Any) -> None:
        super().__init__()
        self.give = give

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(self.give(super().embed(texts)), np.float32)


@pytest.mark.parametrize(
    ("give", "said"),
    [(lambda rows: rows[:, :5], "shape"), (lambda rows: rows[:-1], "shape"), (lambda rows: rows * np.nan, "finite")],
)
def test_vectors_that_do_not_fit_are_refused(folder: Path, give: Any, said: str) -> None:
    with Collection.create(folder, embedder=Wrong(give), chunker=paragraphs) as collection:
        with pytest.raises(InputError, match=said):
            collection.add([Document("a", "amber\nbirch")])
        assert len(collection) == 0


def test_odd_texts(collection: Collection) -> None:
    long = "word " * 40_000
    texts = {
        "empty": "",
        "null": "a\x00b kelp",
        "lone": "kelp \ud800 end",
        "wide": "κόσμος 世界 🌍 kelp",
        "long": long + "kelp",
    }
    collection.add([Document(id, text) for id, text in texts.items()])
    for id, text in texts.items():
        found = collection.document(id)
        assert found is not None
        assert found.text == text.replace("\ud800", "\ufffd")
    hits = collection.search("kelp", SearchOptions(mode="keyword", k=10))
    assert {hit.passage.document for hit in hits} == {"null", "lone", "wide", "long"}
    for hit in hits:
        assert [hit.passage.text[span.start : span.end] for span in hit.highlights] == ["kelp"]


# ---------------------------------------------------------------- files


def test_a_folder_is_followed(tmp_path: Path, folder: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("# Amber\n\nThe amber harbor.")
    (docs / "b.txt").write_text("birch")
    (docs / "rows.jsonl").write_text('{"id": "1", "text": "kelp one"}\n{"id": "2", "text": "kelp two"}\n')
    seen: list[Progress] = []
    embedder = Hashed()
    with Collection.create(folder, embedder=embedder) as collection:
        built = collection.build(docs, seen.append)
        assert (built.added, built.deleted, built.failures) == (4, 0, ())
        assert seen
        assert "documents/s" in seen[0].note
        embedder.asked.clear()
        assert collection.build([docs]).unchanged == 4
        (docs / "b.txt").unlink()
        (docs / "rows.jsonl").write_text('{"id": "2", "text": "kelp two, changed"}\n')
        os.utime(docs / "a.md", (1, 1))  # touched, not changed
        built = collection.build(docs)
        assert (built.added, built.updated, built.unchanged, built.deleted) == (0, 1, 1, 2)
        assert embedder.asked == ["kelp two, changed"]
        assert {hit.passage.document for hit in collection.search("kelp birch", SearchOptions(mode="keyword"))} == {
            "docs/rows.jsonl:2"
        }
        (docs / "c.txt").write_text("cedar")
        (docs / "a.md").unlink()
        assert collection.build(docs, options=BuildOptions(prune=False)).deleted == 0
        assert collection.document("docs/a.md") is not None
        with pytest.raises(InputError, match="there is no"):
            collection.build(tmp_path / "nowhere")
        other = tmp_path / "other"
        other.mkdir()
        (other / "x.txt").write_text("ember")
        assert collection.build(other).deleted == 0  # another folder's files stay


def test_what_cannot_be_read_is_told_and_the_rest_goes_in(tmp_path: Path, folder: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.txt").write_text("amber")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.4 nonsense")
    (docs / "binary.txt").write_bytes(bytes(range(256)) * 20)
    with Collection.create(folder, embedder=Hashed()) as collection:
        built = collection.build(docs)
        assert built.added >= 1
        assert {Path(problem.file).name for problem in built.failures} == {"bad.pdf", "binary.txt"}
        assert collection.document("docs/good.txt") is not None


def test_ids_twice_in_a_build_are_told(collection: Collection) -> None:
    built = collection.build([Document("a", "amber"), Document("a", "birch")])
    assert built.added == 1
    assert [problem.code for problem in built.failures] == ["duplicate-id"]
    found = collection.document("a")
    assert found is not None
    assert found.text == "amber"


def test_one_bad_value_ends_no_build(collection: Collection) -> None:
    documents = [
        Document("nan", "amber", {"score": float("nan"), "year": 2001}),
        Document("deep", "birch", {"where": {"town": "x"}, "year": 2002}),
        Document("nameless", "cedar", {"": 1, "year": 2003}),
        Document("list", "delta", {"scores": [1.0, float("inf")]}),
        Document("good", "ember", {"year": 2004}),
    ]
    built = collection.build(documents)
    assert (built.added, built.failures) == (5, ())
    assert [(problem.file, problem.code) for problem in built.notes] == [
        (name, "bad-metadata") for name in ("nan", "deep", "nameless", "list")
    ]
    hits = collection.search("amber birch cedar ember", SearchOptions(mode="keyword", where={"year": {"gte": 2001}}))
    assert {hit.passage.document for hit in hits} == {"nan", "deep", "nameless", "good"}
    assert collection.build(documents).unchanged == 5


def test_a_document_that_is_refused_ends_no_build(folder: Path) -> None:
    def cut(document: Document) -> list[Passage]:
        text = document.text.upper() if "birch" in document.text else document.text
        return [Passage(f"{document.id}#", document.id, 0, len(document.text), text)]

    with Collection.create(folder, embedder=Hashed(), chunker=cut) as collection:
        built = collection.build([Document("a", "amber"), Document("b", "birch"), Document("c", "cedar")])
        assert (built.added, [problem.file for problem in built.failures]) == (2, ["b"])
        assert len(collection) == 2
    with Collection.create(folder.parent / "d", embedder=Wrong(lambda rows: rows[:, :5]), chunker=paragraphs) as other:
        with pytest.raises(InputError, match="shape"):  # the fault is no document's
            other.build(made(20))
        assert len(other) == 0


def test_folders_of_one_name_stay_apart(tmp_path: Path, folder: Path) -> None:
    for place, word in (("one", "amber"), ("two", "birch")):
        (tmp_path / place / "notes").mkdir(parents=True)
        (tmp_path / place / "notes" / "a.txt").write_text(word)
    first, second = tmp_path / "one" / "notes", tmp_path / "two" / "notes"
    with Collection.create(folder, embedder=None) as collection:
        assert collection.build(first).added == 1
        built = collection.build(second)
        assert (built.added, built.deleted) == (1, 0)
        assert (collection.build([first, second]).unchanged, len(collection)) == (2, 2)
        (first / "a.txt").unlink()
        (first / "b.txt").write_text("cedar")
        built = collection.build(first)
        assert (built.added, built.deleted) == (1, 1)
        found = collection.search("amber birch cedar", SearchOptions(mode="keyword"))
        assert {hit.passage.text for hit in found} == {"birch", "cedar"}


# ---------------------------------------------------------------- opening


def test_what_it_was_made_with_is_kept(folder: Path, collection: Collection) -> None:
    collection.build(made(5))
    collection.close()
    with pytest.raises(InputError, match="already"):
        Collection.create(folder, embedder=Hashed(), chunker=paragraphs)
    for other in (Hashed(64), Hashed(fingerprint="2")):
        with pytest.raises(InputError, match="rung index drop"):
            Collection.open(folder, embedder=other, chunker=paragraphs)
    with pytest.raises(InputError, match="cut by"):
        Collection.open(folder, chunker="fixed:64")
    with pytest.raises(InputError, match="no collection"):
        Collection.open(folder.parent / "nope")
    with pytest.raises(StoreError, match="closed"):
        collection.search("amber")
    with reopen(folder) as again:
        assert len(again.search("amber")) > 0


def test_without_vectors(folder: Path) -> None:
    with Collection.create(folder, embedder=None, chunker=paragraphs) as collection:
        collection.build(made(10))
        assert collection.search("n3", SearchOptions(mode="hybrid"))[0].passage.document == "d3"
        assert collection.search("n3", SearchOptions(mode="keyword", where={"tenant": {"in": ["a", "b", "c"]}}))
        with pytest.raises(InputError, match="no vectors"):
            collection.search("n3", SearchOptions(mode="dense"))
        collection.delete(["d3"])
        collection.compact()
        assert collection.verify().damage == ()
    with Collection.open(folder, chunker=paragraphs) as again:
        assert again.search("n3", SearchOptions(mode="keyword")) == []
        assert len(again) == 27


def test_names(tmp_path: Path) -> None:
    Collection.create(locate("handbook", tmp_path), embedder=None).close()
    assert names(tmp_path) == ["handbook"]
    with pytest.raises(InputError, match="did you mean handbook"):
        find("handbok", tmp_path)
    for bad in ("../x", "", "a/b", ".hidden"):
        with pytest.raises(InputError, match="expected letters"):
            locate(bad, tmp_path)
    Collection.drop(find("handbook", tmp_path))
    assert names(tmp_path) == []


# ---------------------------------------------------------------- damage


def answers(collection: Collection) -> list[list[tuple[str, float]]]:
    return [
        [
            (hit.passage.id, round(hit.score, 5))
            for hit in collection.search(query, SearchOptions(mode=mode, k=8, where=where))
        ]
        for query in ("amber kelp", "orchid n4")
        for mode in MODES
        for where in (None, {"tenant": "a"})
    ]


@pytest.mark.parametrize("file", ["vectors.bin", "keyword/keyword.npz"])
def test_a_damaged_side_file_never_gives_a_wrong_answer(folder: Path, file: str) -> None:
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as collection:
        collection.build(made(60))
        expected = answers(collection)
    whole = (folder / file).read_bytes()
    chance = random.Random(5)
    places = [0, 3, 9, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(20))]
    for place in places:
        broken = bytearray(whole)
        broken[place] ^= 1 << chance.randrange(8)
        (folder / file).write_bytes(broken)
        with reopen(folder) as collection:
            assert answers(collection) == expected, place
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        (folder / file).write_bytes(whole[:cut])
        with reopen(folder) as collection:
            assert answers(collection) == expected, cut
    (folder / file).write_bytes(whole + b"x")
    with reopen(folder) as collection:
        assert answers(collection) == expected
        found = collection.verify()
        assert found.damage == ()
    (folder / file).unlink()
    with reopen(folder) as collection:
        assert answers(collection) == expected


def test_a_side_file_of_another_generation_is_followed_up_or_made_again(folder: Path) -> None:
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as collection:
        collection.build(made(30))
        old = {name: (folder / name).read_bytes() for name in ("vectors.bin", "keyword/keyword.npz")}
        collection.delete(["d3", "d4"])
        collection.upsert([Document("d5", "kelp kelp"), Document("new", "amber new")])
        expected = answers(collection)
    for compacted in (False, True):
        if compacted:
            with reopen(folder) as collection:
                collection.compact()
                assert collection.stats().dead == 0
        for name, content in old.items():
            (folder / name).write_bytes(content)
        with reopen(folder) as collection:
            assert answers(collection) == expected
            assert collection.verify().damage == ()


def test_damage_to_the_truth_is_said(folder: Path) -> None:
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as collection:
        collection.build(made(60))
    path = folder / "collection.db"
    raw = bytearray(path.read_bytes())
    place = raw.find(b"amber")
    raw[place : place + 5] = b"AMBER"
    path.write_bytes(raw)
    with reopen(folder) as collection:
        damage = collection.verify().damage
    assert len(damage) == 1
    assert "is not what was written" in damage[0]
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="damaged"):
        reopen(folder)
    raw[:100] = b"\0" * 100
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="damaged"):
        reopen(folder)


def test_damaged_vectors_are_said(folder: Path) -> None:
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as collection:
        collection.build(made(60))
        stored = collection.nearest(Hashed().embed(["amber"]), 1)
    vector = (folder / "vectors.bin").read_bytes()[-128:]
    (folder / "vectors.bin").unlink()
    path = folder / "collection.db"
    raw = bytearray(path.read_bytes())
    place = raw.find(vector[:64])
    assert place > 0
    raw[place + 2] ^= 0x40
    path.write_bytes(raw)
    with reopen(folder) as collection:
        assert "checksum" in collection.verify().damage[0]
        with pytest.raises(StoreError, match="damaged"):
            collection.nearest(Hashed().embed(["amber"]), 1)
    assert stored


# ---------------------------------------------------------------- crashes and full disks

_CHILD = """
import sys
from tests.retrieval.collection.material import Hashed, made, paragraphs
from rung.retrieval.collection.ingest import build as room
from rung.retrieval.collection.collection import Collection
from rung.core.types import Document

what, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
room.BATCH_DOCUMENTS = 7
held = Collection.open(folder, embedder=Hashed(), chunker=paragraphs)
print("ready", flush=True)
if what == "build":
    held.build(made(count), lambda at: print(at.done, flush=True))
    held.close()
else:
    for number in range(count):
        held.upsert(made(count)[number * 3 : number * 3 + 3])
        print(number, flush=True)
"""


def child(what: str, folder: Path, count: int, *, first: str = "") -> Child:
    return Child(first + _CHILD, what, str(folder), str(count))


@pytest.mark.parametrize("what", ["build", "upsert"])
def test_killed_at_random_points_nothing_acknowledged_is_lost(folder: Path, what: str) -> None:
    """kill -9 again and again: acknowledged documents are there, transactions are whole, all parts count the same."""
    count = 400
    documents = {document.id: document for document in made(count)}
    Collection.create(folder, embedder=Hashed(), chunker=paragraphs).close()
    chance = random.Random(7)
    acknowledged = 0
    for _ in range(6):
        process = child(what, folder, count)
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.12))
        process.kill()
        said = process.communicate()[0].split()
        if said and process.returncode == -signal.SIGKILL:
            last = int(said[-1])
            acknowledged = max(acknowledged, last if what == "build" else 3 * last + 3)
        with reopen(folder) as collection:
            stats = collection.stats()
            assert stats.documents >= min(acknowledged, count)
            assert stats.passages == 3 * stats.documents  # no document without all of its passages
            batch = 7 if what == "build" else 3
            assert stats.documents % batch == 0 or stats.documents == count
            found = collection.verify()
            assert found.damage == ()
            vectors = collection.nearest(Hashed().embed(["amber"]), 5000)[0]
            words = collection.search(" ".join(WORDS), SearchOptions(mode="keyword", k=5000))
            assert len(vectors) == len(words) == stats.passages
            for id in [f"d{number}" for number in range(stats.documents)]:
                assert collection.document(id) == documents[id]
    with reopen(folder) as collection:  # and it goes on
        built = collection.build(documents.values())
        assert built.added + built.unchanged == count
        assert built.unchanged >= acknowledged
        assert len(collection) == 3 * count


_SMALL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))"


@pytest.mark.skipif(sys.platform == "win32", reason="limits of file size are POSIX's")
def test_a_full_disk_is_an_error_that_leaves_what_was_there(folder: Path) -> None:
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as collection:
        collection.build(made(30))
        expected = answers(collection)
    process = child("build", folder, 3000, first=_SMALL)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "StoreError" in error
    assert "free some space" in error
    with reopen(folder) as collection:
        stats = collection.stats()
        assert 30 <= stats.documents < 3000
        assert collection.verify().damage == ()
        for number in range(30):
            assert collection.document(f"d{number}") is not None
        collection.delete([f"d{number}" for number in range(30, stats.documents)])
        assert {hit for hits in answers(collection) for hit, _ in hits} == {hit for hits in expected for hit, _ in hits}
        assert collection.build(made(3000)).failures == ()  # there is room again
        assert len(collection) == 9000


# ---------------------------------------------------------------- several at once


@pytest.mark.slow
def test_a_second_writer_is_told_and_readers_go_on(folder: Path) -> None:
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as first, reopen(folder) as second:
        inside, go_on = threading.Event(), threading.Event()

        def documents() -> Iterator[Document]:
            yield from made(5)
            inside.set()
            go_on.wait(10)

        writer = threading.Thread(target=lambda: first.build(documents()))
        writer.start()
        assert inside.wait(10)
        with pytest.raises(StoreError, match=rf"being written by another process.*{os.getpid()}, build"):
            second.upsert([Document("x", "amber")])
        with pytest.raises(StoreError, match="being written"):
            first.delete(["d1"])  # another thread of the same process
        assert second.search("amber") == []
        go_on.set()
        writer.join()
        assert second.search("amber")
        assert second.upsert([Document("x", "amber")]).added == 1
        assert (
            first.search("amber", SearchOptions(mode="keyword", where={"tenant": {"exists": False}}))[
                0
            ].passage.document
            == "x"
        )


def test_readers_see_whole_generations(folder: Path) -> None:
    """While a writer swaps all documents for another version, every search of every reader sees one version only."""

    def version(number: int) -> list[Document]:
        return [Document(f"d{place}", f"amber v{number}", {"version": number}) for place in range(12)]

    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as writer, reopen(folder) as other:
        writer.upsert(version(0))
        stop = threading.Event()
        wrong: list[Any] = []

        def read(collection: Collection, mode: Any) -> None:
            while not stop.is_set():
                hits = collection.search("amber", SearchOptions(mode=mode, k=50))
                seen = {hit.passage.metadata["version"] for hit in hits}
                if len(hits) != 12 or len(seen) != 1:
                    wrong.append((mode, len(hits), seen))

        readers = [
            threading.Thread(target=read, args=(collection, mode))
            for collection in (writer, other)
            for mode in ("dense", "keyword", "hybrid")
        ]
        for reader in readers:
            reader.start()
        for number in range(1, 25):
            writer.upsert(version(number))
        stop.set()
        for reader in readers:
            reader.join()
        assert wrong == []
        assert other.verify().damage == ()


# ---------------------------------------------------------------- another vector index


def test_another_index_follows(folder: Path) -> None:
    documents = made(50)
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs, index="exact") as collection:
        collection.build(documents)
        collection.delete(["d1"])
        collection.upsert([Document("d2", "kelp kelp", {"tenant": "a"})])
        ours = answers(collection)
        assert len(collection.nearest(Hashed().embed(["amber"]), 1000)[0]) == len(collection)
    with reopen(folder) as again:
        assert answers(again) == ours
        (folder / "index.json").unlink()
    with reopen(folder) as again:  # what it has seen is not known: everything once more
        assert answers(again) == ours
        assert again.verify().damage == ()
    with Collection.create(folder.parent / "plain", embedder=Hashed(), chunker=paragraphs) as plain:
        plain.build([*(d for d in documents if d.id not in ("d1", "d2")), Document("d2", "kelp kelp", {"tenant": "a"})])
        theirs = answers(plain)
    assert [score for hits in theirs for _, score in hits] == pytest.approx(
        [score for hits in ours for _, score in hits]
    )


def test_beyond_a_size_a_graph_is_searched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("usearch") is None:  # not imported here: the order of imports is the index's business
        pytest.skip("usearch is not installed")
    from rung.retrieval.collection.derived import parts as room

    monkeypatch.setattr(room, "GRAPH", 200)
    documents = made(150, lines=2)
    queries = ["amber kelp", "orchid n4", "harbor"]
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as collection:
        collection.build(documents)
        collection.delete(["d1"])
        collection.upsert([Document("d2", "kelp kelp", {"tenant": "a"})])
        documents = [
            *(document for document in documents if document.id not in ("d1", "d2")),
            Document("d2", "kelp kelp", {"tenant": "a"}),
        ]
        found = expected = 0
        for query in queries:
            for where in (None, {"tenant": "a"}, {"year": {"gte": 2001}}):
                hits = collection.search(query, SearchOptions(mode="dense", k=10, where=where))
                truth = brute(documents, query, where)[:10]
                expected += len(truth)
                found += sum(
                    hit.score == pytest.approx(score, abs=1e-5) for hit, (_, score) in zip(hits, truth, strict=True)
                )
                assert not [hit for hit in hits if where and not predicate(where)(hit.passage.metadata)]
        assert found >= 0.9 * expected
        assert (folder / "index").is_dir()
        assert collection.verify().damage == ()
        with reopen(folder) as reader:  # the graph's files are held by the writer: the matrix answers
            hits = reader.search("kelp kelp", SearchOptions(mode="dense", k=1))
            assert hits[0].passage.document == "d2"
        collection.compact()
        assert collection.verify() == CollectionCheck()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("meta", "value", "{"), ("meta", "value", 7), ("documents", "metadata", "[1"), ("documents", "metadata", "5"),
        ("passages", "start", "x"), ("passages", "stop", b"\xff"), ("passages", "metadata", "[]"), ("texts", "text", 5),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_damage(folder: Path, table: str, column: str, value: object) -> None:
    with Collection.create(folder, embedder=Hashed(), chunker=paragraphs) as collection:
        collection.build(made(5))
    with contextlib.closing(sqlite3.connect(folder / "collection.db")) as link:
        link.execute(f"UPDATE {table} SET {column}=?", (value,))
        link.commit()

    def read() -> tuple[str, ...]:
        with reopen(folder) as collection:
            collection.search("amber")
            collection.document(made(1)[0].id)
            return collection.verify().damage

    try:
        damage = read()
    except StoreError as error:
        damage = (error.message,)
    assert damage
