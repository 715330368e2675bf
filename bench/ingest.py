"""20,000 passages from files to a searchable store on disk: rung's collection beside Chroma, LlamaIndex + FAISS, LangChain + FAISS
and txtai. Every store gets the same files, the same passages of 100 words and the same vectors.

    python bench/ingest.py [--data FOLDER] [--peers VENV] [--rounds 3] [--only rung,chroma,...]

``VENV`` is a virtual environment with chromadb, llama-index-core, llama-index-vector-stores-faiss, llama-index-retrievers-bm25,
langchain-community, rank-bm25, faiss-cpu and txtai. Each store runs in a process of its own (peak memory is that of the process, less that of one that only loads
the vectors); imports are not timed; rounds alternate. Ingest includes the keyword index: Chroma and txtai have one, LlamaIndex and
LangChain get their BM25Retriever, and are also timed without it. Chroma's FTS5 is its own and cannot be left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PASSAGES = 20_000
WORDS = 100
STORES = ("rung", "chroma", "llama-index", "langchain", "txtai")
QUERIES = 500


# ---------------------------------------------------------------- the corpus, made once


def corpus(data: Path, folder: Path, count: int) -> None:
    """Files of about 1,000 words of novels and encyclopedia entries, the vectors of their passages, and queries."""
    import numpy as np

    from rung.models import open_embedder

    texts: list[str] = []
    for path in sorted((data / "gutenberg").glob("*.txt.gz")):
        words = unpack(path).split()
        texts += [" ".join(words[start : start + 1000]) for start in range(0, len(words), 1000)]
    for name in ("dbpedia_mini", "cisi", "cranfield"):
        path = data / name / "beir" / "corpus.jsonl.gz"
        lines = [json.loads(line) for line in unpack(path).splitlines()]
        joined = " ".join(f"{line['title']} {line['text']}" for line in lines).split()
        texts += [" ".join(joined[start : start + 1000]) for start in range(0, len(joined), 1000)]
    docs = folder / "docs"
    docs.mkdir(parents=True)
    passages: list[str] = []
    for number, text in enumerate(texts):
        if len(passages) >= count:
            break
        cut = [text[start:end] for start, end in spans(text)][: count - len(passages)]
        # The last file ends where the passages do, so that all stores cut the same.
        end = spans(text)[len(cut) - 1][1]
        (docs / f"{number:05d}.txt").write_text(text[:end], encoding="utf-8")
        passages += cut
    assert len(passages) == count, len(passages)
    embedder = open_embedder("static")
    unique = list(dict.fromkeys(passages))
    np.save(folder / "vectors.npy", embedder.embed(unique))
    (folder / "passages.json").write_text(json.dumps(unique))
    picks = [passages[place].split() for place in range(0, count, count // QUERIES)][:QUERIES]
    queries = [" ".join(words[20:32]) for words in picks]
    np.save(folder / "queries.npy", embedder.embed(queries))
    (folder / "queries.json").write_text(json.dumps(queries))


def unpack(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def spans(text: str) -> list[tuple[int, int]]:
    """Windows of 100 words separated by single spaces: characters from and to."""
    out = []
    words = text.split(" ")
    at = 0
    for start in range(0, len(words), WORDS):
        length = len(" ".join(words[start : start + WORDS]))
        out.append((at, at + length))
        at += length + 1
    return out


class Given:
    """An embedder that looks its vectors up."""

    name, fingerprint, dimensions = "given", "1", 256

    def __init__(self, folder: Path) -> None:
        import numpy as np

        self.table = np.load(folder / "vectors.npy")
        self.place = {text: place for place, text in enumerate(json.loads((folder / "passages.json").read_text()))}
        asked = np.load(folder / "queries.npy")
        self.asked = dict(zip(json.loads((folder / "queries.json").read_text()), asked, strict=True))

    def embed(self, texts: Any) -> Any:
        import numpy as np

        if len(texts) == 1:
            found = self.asked.get(texts[0])
            if found is not None:
                return found[None, :]
        # A text that was changed for the upsert has the vector of the passage it was.
        return self.table[np.array([self.place[text.removesuffix("~changed")] for text in texts])]


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and text of every file: what every peer reads with."""
    for path in sorted((folder / "docs").iterdir()):
        yield path.name, path.read_text(encoding="utf-8")


def group(name: str) -> str:
    """One of ten tenants."""
    return f"g{int(name[:5]) % 10}"


def timed(function: Callable[[int], object], count: int) -> dict[str, float]:
    for number in range(min(20, count)):
        function(number)
    times = []
    used = time.process_time()
    for number in range(count):
        started = time.perf_counter()
        function(number)
        times.append(time.perf_counter() - started)
    used = time.process_time() - used
    times.sort()
    return {
        "cpu": used / count * 1e3,
        "p50": times[count // 2] * 1e3,
        "p99": times[int(count * 0.99)] * 1e3,
        "qps": count / sum(times),
    }


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


# ---------------------------------------------------------------- the stores


def run_rung(folder: Path, out: Path) -> dict[str, Any]:
    from rung.core.types import Document, Passage
    from rung.retrieval.collection.collection import Collection
    from rung.retrieval.keyword.keyword import KeywordIndex  # noqa: F401  imports are not timed
    from rung.retrieval.rank.options import SearchOptions

    def windows(document: Document) -> list[Passage]:
        text, metadata = document.text, document.metadata
        return [
            Passage(f"{document.id}#{start}", document.id, start, end, text[start:end], metadata)
            for start, end in spans(text)
        ]

    given = Given(folder)
    before = memory()
    used, started = time.process_time(), time.perf_counter()
    collection = Collection.create(out / "c", embedder=given, chunker=windows)
    collection.build(Document(name, text, {"group": group(name)}) for name, text in files(folder))
    collection.close()
    ingest = time.perf_counter() - started
    processor = time.process_time() - used
    peak = memory()
    version = "this tree"
    collection = Collection.open(out / "c", embedder=given, chunker=windows)
    queries = list(given.asked)
    vectors = list(given.asked.values())
    dense = SearchOptions(mode="dense", highlights=False)
    names = [name for name, _ in files(folder)]
    texts = dict(files(folder))

    def upsert(number: int) -> object:
        name = names[number % len(names)]
        text = texts[name][: spans(texts[name])[0][1]]
        mark = "~changed" if number % 2 else ""
        return collection.upsert([Document(f"one{number % 50}", text + mark, {"group": "g0"})])

    hits = [[hit.passage.id for hit in collection.search(query, dense)] for query in queries[:100]]
    row: dict[str, Any] = {
        "version": version,
        "ingest": ingest,
        "processor": processor,
        "peak": peak - before,
        "disk": size(out),
        "ids": timed(lambda n: collection.nearest(vectors[n % QUERIES][None, :], 10), QUERIES),
        "query": timed(lambda n: collection.search(queries[n % QUERIES], dense), QUERIES),
        "filtered": timed(
            lambda n: collection.search(
                queries[n % QUERIES], SearchOptions(mode="dense", where={"group": f"g{n % 10}"}, highlights=False)
            ),
            QUERIES,
        ),
        "keyword": timed(
            lambda n: collection.search(queries[n % QUERIES], SearchOptions(mode="keyword", highlights=False)), QUERIES
        ),
        "hybrid": timed(lambda n: collection.search(queries[n % QUERIES], SearchOptions(highlights=False)), QUERIES),
        "hits": hits,
    }
    row["upsert"] = timed(upsert, 200)
    collection.close()
    return row


def run_chroma(folder: Path, out: Path) -> dict[str, Any]:
    import chromadb
    from chromadb.config import Settings

    given = Given(folder)
    before = memory()
    used, started = time.process_time(), time.perf_counter()
    client = chromadb.PersistentClient(str(out / "c"), Settings(anonymized_telemetry=False))
    collection = client.create_collection("passages", metadata={"hnsw:space": "ip"}, embedding_function=None)
    ids, texts, metadatas = cut(folder)
    for start in range(0, len(ids), 5000):
        end = start + 5000
        collection.add(
            ids=ids[start:end],
            embeddings=given.embed(texts[start:end]),
            documents=texts[start:end],
            metadatas=metadatas[start:end],
        )
    ingest = time.perf_counter() - started
    processor = time.process_time() - used
    peak = memory()
    vectors = list(given.asked.values())

    def query(number: int, where: Any = None) -> Any:
        return collection.query(query_embeddings=vectors[number % QUERIES][None, :], n_results=10, where=where)

    def ids_only(number: int) -> Any:
        return collection.query(
            query_embeddings=vectors[number % QUERIES][None, :], n_results=10, include=["distances"]
        )

    def upsert(number: int) -> None:
        mark = "~changed" if number % 2 else ""
        text = texts[number] + mark
        collection.upsert(
            ids=[f"one{number % 50}"], embeddings=given.embed([text]), documents=[text], metadatas=[{"group": "g0"}]
        )

    row = {
        "version": chromadb.__version__,
        "ingest": ingest,
        "processor": processor,
        "peak": peak - before,
        "disk": size(out),
        "ids": timed(ids_only, QUERIES),
        "query": timed(query, QUERIES),
        "filtered": timed(lambda n: query(n, {"group": f"g{n % 10}"}), 200),
        "hits": [query(number)["ids"][0] for number in range(100)],
    }
    row["upsert"] = timed(upsert, 200)
    return row


def run_llama_index(folder: Path, out: Path) -> dict[str, Any]:
    from importlib.metadata import version

    import faiss
    from llama_index.core import Settings, StorageContext, VectorStoreIndex
    from llama_index.core.embeddings import MockEmbedding
    from llama_index.core.schema import TextNode
    from llama_index.core.vector_stores.types import VectorStoreQuery
    from llama_index.retrievers.bm25 import BM25Retriever
    from llama_index.vector_stores.faiss import FaissVectorStore

    Settings.embed_model = MockEmbedding(embed_dim=256)
    given = Given(folder)
    before = memory()
    used, started = time.process_time(), time.perf_counter()
    ids, texts, metadatas = cut(folder)
    vectors = given.embed(texts)
    nodes = [
        TextNode(id_=id, text=text, metadata=metadata, embedding=vector.tolist())
        for id, text, metadata, vector in zip(ids, texts, metadatas, vectors, strict=True)
    ]
    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(256))
    index = VectorStoreIndex(nodes, storage_context=StorageContext.from_defaults(vector_store=store))
    index.storage_context.persist(str(out / "c"))
    plain = {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}
    BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=10).persist(str(out / "words"))
    ingest = time.perf_counter() - started
    processor = time.process_time() - used
    peak = memory()
    asked = [vector.tolist() for vector in given.asked.values()]
    faiss.omp_set_num_threads(1)

    def query(number: int) -> Any:
        found = store.query(VectorStoreQuery(query_embedding=asked[number % QUERIES], similarity_top_k=10))
        names = [index.index_struct.nodes_dict[id] for id in found.ids]
        return index.docstore.get_nodes(names)

    fresh = iter(range(1_000_000))

    def upsert(number: int) -> None:
        node = TextNode(id_=f"one{next(fresh)}", text=texts[number], embedding=vectors[number].tolist())
        index.insert_nodes([node])
        index.storage_context.persist(str(out / "c"))

    row = {
        "version": version("llama-index-core"),
        "plain": plain,
        "ingest": ingest,
        "processor": processor,
        "peak": peak - before,
        "disk": size(out),
        "query": timed(query, QUERIES),
        "hits": [[node.node_id for node in query(number)] for number in range(100)],
    }
    row["upsert"] = timed(upsert, 3)
    return row


def run_langchain(folder: Path, out: Path) -> dict[str, Any]:
    from importlib.metadata import version

    import faiss
    from langchain_community.retrievers import BM25Retriever
    from langchain_community.vectorstores import FAISS
    from langchain_community.vectorstores.utils import DistanceStrategy
    from langchain_core.embeddings import Embeddings

    given = Given(folder)

    class Looked(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [list(row) for row in given.embed(texts)]

        def embed_query(self, text: str) -> list[float]:
            return list(given.embed([text])[0])

    before = memory()
    used, started = time.process_time(), time.perf_counter()
    ids, texts, metadatas = cut(folder)
    pairs = list(zip(texts, given.embed(texts), strict=True))
    store = FAISS.from_embeddings(
        pairs, Looked(), metadatas, ids=ids, distance_strategy=DistanceStrategy.MAX_INNER_PRODUCT
    )
    store.save_local(str(out / "c"))
    plain = {"seconds": time.perf_counter() - started, "processor": time.process_time() - used}
    (out / "words").write_bytes(pickle.dumps(BM25Retriever.from_texts(texts, metadatas=metadatas)))
    ingest = time.perf_counter() - started
    processor = time.process_time() - used
    peak = memory()
    asked = list(given.asked.values())
    faiss.omp_set_num_threads(1)

    fresh = iter(range(1_000_000))

    def upsert(number: int) -> None:
        name = f"one{next(fresh)}"
        store.add_embeddings([(texts[number], given.embed([texts[number]])[0])], [{"group": "g0"}], ids=[name])
        store.save_local(str(out / "c"))

    def query(number: int) -> Any:
        return store.similarity_search_by_vector(asked[number % QUERIES], k=10)

    row = {
        "version": version("langchain-community"),
        "plain": plain,
        "ingest": ingest,
        "processor": processor,
        "peak": peak - before,
        "disk": size(out),
        "query": timed(query, QUERIES),
        "filtered": timed(
            lambda n: store.similarity_search_by_vector(
                asked[n % QUERIES], k=10, filter={"group": f"g{n % 10}"}, fetch_k=200
            ),
            200,
        ),
        "hits": [[found.id for found in query(number)] for number in range(100)],
    }
    row["upsert"] = timed(upsert, 5)
    return row


def run_txtai(folder: Path, out: Path) -> dict[str, Any]:
    import faiss
    from txtai import Embeddings
    from txtai.version import __version__

    given = Given(folder)
    before = memory()
    used, started = time.process_time(), time.perf_counter()
    ids, texts, metadatas = cut(folder)

    def transform(items: list[str]) -> Any:
        return given.embed([item if isinstance(item, str) else item["text"] for item in items])

    embeddings = Embeddings(
        {"method": "external", "transform": transform, "content": True, "hybrid": True, "backend": "faiss"}
    )
    rows = ((id, {"text": text, **metadata}, None) for id, text, metadata in zip(ids, texts, metadatas, strict=True))
    embeddings.index(rows)
    embeddings.save(str(out / "c"))
    ingest = time.perf_counter() - started
    processor = time.process_time() - used
    peak = memory()
    faiss.omp_set_num_threads(1)
    asked = list(given.asked)

    def query(number: int) -> Any:
        return embeddings.search(
            "select id, text, score from txtai where similar(:q, 1.0)", 10, parameters={"q": asked[number % QUERIES]}
        )

    def filtered(number: int) -> Any:
        return embeddings.search(
            f"select id, text, score from txtai where similar(:q, 1.0) and [group] = 'g{number % 10}'",
            10,
            parameters={"q": asked[number % QUERIES]},
        )

    def upsert(number: int) -> None:
        embeddings.upsert([(f"one{number}", {"text": texts[number], "group": "g0"}, None)])
        embeddings.save(str(out / "c"))

    row = {
        "version": __version__,
        "ingest": ingest,
        "processor": processor,
        "peak": peak - before,
        "disk": size(out),
        "query": timed(query, QUERIES),
        "filtered": timed(filtered, 200),
        "hits": [[found["id"] for found in query(number)] for number in range(100)],
    }
    row["upsert"] = timed(upsert, 3)
    return row


def cut(folder: Path) -> tuple[list[str], list[str], list[dict[str, str]]]:
    """Ids, texts and metadata of all passages, read and cut: what every peer begins with."""
    ids, texts, metadatas = [], [], []
    for name, text in files(folder):
        for start, end in spans(text):
            ids.append(f"{name}#{start}")
            texts.append(text[start:end])
            metadatas.append({"group": group(name)})
    return ids, texts, metadatas


RUNS = {
    "rung": run_rung,
    "chroma": run_chroma,
    "llama-index": run_llama_index,
    "langchain": run_langchain,
    "txtai": run_txtai,
}


# ---------------------------------------------------------------- the table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RUNG_DATA", "../shared/data")))
    parser.add_argument("--peers", type=Path, help="virtual environment with the peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(STORES))
    parser.add_argument("--corpus", type=Path, help="keep the corpus here, and use it if it is there")
    parser.add_argument("--passages", type=int, default=PASSAGES)
    parser.add_argument(
        "--rows", type=Path, help="append every row here; with --show, print the table of what is there"
    )
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("STORE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        store, folder = given.child[0], Path(given.child[1])
        with tempfile.TemporaryDirectory(dir=folder.parent) as out:
            print("ROW " + json.dumps(RUNS[store](folder, Path(out))))
        return
    if given.show:
        rows: dict[str, list[dict[str, Any]]] = {}
        for line in given.rows.read_text().splitlines():
            store, _, row = line.partition(" ")
            rows.setdefault(store, []).append(json.loads(row))
        show(rows)
        return
    folder = given.corpus or Path(tempfile.mkdtemp()) / "corpus"
    if not (folder / "queries.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        corpus(given.data, folder, given.passages)
    rows = {}
    chosen = [store for store in STORES if store in given.only.split(",")]
    for _ in range(given.rounds):
        for store in chosen:
            if store != "rung" and given.peers is None:
                continue
            python = sys.executable if store == "rung" else str(given.peers / "bin" / "python")
            done = subprocess.run(
                [python, __file__, "--child", store, str(folder)], capture_output=True, text=True, check=False
            )
            lines = [line for line in done.stdout.splitlines() if line.startswith("ROW ")]
            if not lines:
                print(f"{store}: {done.stderr[-1500:]}", file=sys.stderr)
                continue
            rows.setdefault(store, []).append(json.loads(lines[0][4:]))
            if given.rows:
                with given.rows.open("a") as stream:
                    stream.write(f"{store} {lines[0][4:]}\n")
            print(store, f"{rows[store][-1]['ingest']:.2f} s", file=sys.stderr)
    show(rows)


def show(rows: dict[str, list[dict[str, Any]]]) -> None:
    def middle(store: str, *path: str) -> float | None:
        values = []
        for row in rows[store]:
            value: Any = row
            for key in path:
                value = value.get(key) if value else None
            if value is not None:
                values.append(value)
        return statistics.median(values) if values else None

    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    titles = (
        ("ingest s", ("ingest",), ".2f"),
        ("CPU s", ("processor",), ".2f"),
        ("without words s", ("plain", "seconds"), ".2f"),
        ("CPU s", ("plain", "processor"), ".2f"),
        ("peak MB", ("peak",), ".0f"),
        ("disk MB", ("disk",), ".0f"),
        ("ids CPU ms", ("ids", "cpu"), ".2f"),
        ("ids p99 ms", ("ids", "p99"), ".2f"),
        ("ids/s", ("ids", "qps"), ",.0f"),
        ("query CPU ms", ("query", "cpu"), ".2f"),
        ("p50 ms", ("query", "p50"), ".2f"),
        ("p99 ms", ("query", "p99"), ".2f"),
        ("queries/s", ("query", "qps"), ",.0f"),
        ("filtered CPU ms", ("filtered", "cpu"), ".2f"),
        ("p50 ms", ("filtered", "p50"), ".2f"),
        ("filtered/s", ("filtered", "qps"), ",.0f"),
        ("filtered p99 ms", ("filtered", "p99"), ".2f"),
        ("durable upsert p50 ms", ("upsert", "p50"), ".2f"),
    )
    print("| store | " + " | ".join(title for title, _, _ in titles) + " | same 10 as exact |")
    print("|---|" + "---|" * (len(titles) + 1))
    exact = rows.get("rung", [{}])[0].get("hits")
    for store in rows:
        found = rows[store][0]["hits"]
        same = (
            sum(len(set(left) & set(right)) for left, right in zip(found, exact, strict=True)) / sum(map(len, exact))
            if exact
            else float("nan")
        )
        cells = [cell(middle(store, *path), form) for _, path, form in titles]
        print(f"| {store} {rows[store][0]['version']} | " + " | ".join(cells) + f" | {same:.3f} |")
    if "rung" in rows:
        print()
        for name in ("keyword", "hybrid"):
            parts = [f"{key} {cell(middle('rung', name, key), ',.2f')}" for key in ("cpu", "p50", "p99", "qps")]
            print(f"rung {name}: {', '.join(parts)}")
        ours = middle("rung", "ingest")
        for store in rows:
            theirs = middle(store, "ingest")
            if store != "rung" and ours and theirs:
                mine, cpu = middle("rung", "processor"), middle(store, "processor")
                assert mine
                assert cpu
                print(f"ingest: {theirs / ours:.1f}x faster than {store}, with {cpu / mine:.1f}x less CPU time")
        for what in ("ids", "query", "filtered"):
            mine = middle("rung", what, "qps")
            for store in rows:
                other = middle(store, what, "qps")
                if store != "rung" and mine and other:
                    print(f"{what}: {mine / other:.1f}x the queries/s of {store}")


if __name__ == "__main__":
    main()
