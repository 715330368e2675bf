"""Index backends beside the bare libraries under them, and at a million vectors.

``python bench/backends.py ratio [--rows 20000] [--rounds 7]``: queries a second of our index against the library called
directly on the very same structure, in short alternating blocks: medians, the median of the ratios of neighbouring blocks, and the
ratio of the best blocks (what is left when other work on the machine is not counted); single queries and one batch; settings
at recall@10 >= 0.95.
``--data sift`` takes sift_5k of the folder RUNG_DATA (normalised), ``--data FILE.npy`` any vectors.

``python bench/backends.py million --spec SPEC [--rows 1000000]``: build, persist, reload, queries a second, memory, and adding
and deleting rows, each step in a process of its own. ``--bare`` does the same with faiss.IndexHNSWFlat alone.

Vectors are real: the static embedder's (256 numbers) of windows of 24 words, 20 apart, of the text files of this Python's
library and installed packages, no window twice. They are made once and kept in ``--cache``.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rung.retrieval.index import open_index
from rung.retrieval.measure.curve import find_truth, read_vectors

QUERIES = 1000
K = 10


def windows(extra: list[Path]) -> Iterator[str]:
    """Distinct windows of words of text files."""
    seen: set[int] = set()
    paths = sysconfig.get_paths()
    for root in (Path(paths["purelib"]), Path(paths["stdlib"]), *extra):
        for path in sorted(root.rglob("*")):
            if path.suffix not in (".py", ".pyi", ".rst", ".md", ".txt", ".gz") or not path.is_file():
                continue
            if path.stat().st_size > 2_000_000:
                continue
            try:
                raw = path.read_bytes()
                text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
            except (OSError, ValueError, EOFError):
                continue
            words = text.split()
            for start in range(0, len(words) - 12, 20):
                window = " ".join(words[start : start + 24])
                if hash(window) not in seen:
                    seen.add(hash(window))
                    yield window


def embedded(rows: int, cache: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """``rows`` + QUERIES real vectors in random order, the last QUERIES of them as queries."""
    path = cache / f"embedded-{rows}.npy"
    if not path.exists():
        from rung.models.embed import open_embedder

        cache.mkdir(parents=True, exist_ok=True)
        embedder = open_embedder("static")
        data = os.environ.get("RUNG_DATA")
        texts = windows([Path(data) / "gutenberg"] if data else [])
        total = rows + QUERIES
        out = np.lib.format.open_memmap(path.with_suffix(".part"), "w+", np.float32, (total, embedder.dimensions))
        place = np.random.default_rng(0).permutation(total)
        at = 0
        while at < total:
            lot = [text for text, _ in zip(texts, range(min(20_000, total - at)), strict=False)]
            if not lot:
                raise SystemExit(f"only {at} windows of text here: give fewer --rows, or texts by RUNG_DATA")
            out[place[at : at + len(lot)]] = embedder.embed(lot)
            at += len(lot)
        out.flush()
        path.with_suffix(".part").rename(path)
    loaded: np.ndarray[Any, np.dtype[np.float32]] = np.load(path, mmap_mode="r")
    return loaded


# ---------------------------------------------------------------- ratio


def bare(spec: str, index: Any, rows: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """The library itself, called as its manual says, on the structure that our index holds: for one query and for many."""
    engine = index.engine
    whole: list[Any] = []  # what FAISS holds a pointer to
    threads = len(os.sched_getaffinity(0))
    if spec.startswith("exact"):

        def numpy_search(queries: Any) -> Any:
            scores = queries @ rows.T
            best = np.argpartition(scores, scores.shape[1] - K, axis=1)[:, -K:]
            values = np.take_along_axis(scores, best, 1)
            order = np.argsort(-values, axis=1)
            return np.take_along_axis(best, order, 1), np.take_along_axis(values, order, 1)

        def numpy_one(queries: Any) -> Any:
            scores = rows @ queries[0]
            best = np.argpartition(scores, len(scores) - K)[-K:]
            best = best[np.argsort(-scores[best])]
            return best, scores[best]

        return numpy_one, numpy_search
    if spec.startswith("faiss"):
        import faiss

        used = engine.index
        if spec.startswith("faiss:pq"):
            full = faiss.IndexFlat(rows.shape[1], faiss.METRIC_INNER_PRODUCT)
            full.add(rows)
            used = faiss.IndexRefine(engine.index, full)
            whole.append(full)
            used.k_factor = engine.options.rescore

        def faiss_one(queries: Any) -> Any:
            faiss.omp_set_num_threads(1)
            return used.search(queries, K) or whole

        def faiss_many(queries: Any) -> Any:
            faiss.omp_set_num_threads(threads)
            return used.search(queries, K)

        return faiss_one, faiss_many
    if spec.startswith("annoy"):
        ask = engine.forest.get_nns_by_vector
        nodes = engine.options.nodes or -1

        def annoy_search(queries: Any) -> Any:
            return [ask(query, K, nodes, True) for query in queries]

        return annoy_search, annoy_search
    if spec.startswith("hnsw"):
        used = engine.index
        prepared = engine._encode if "i8" in spec else (lambda queries: queries)
        return (
            lambda queries: used.search(prepared(queries)[0], K, threads=1),
            lambda queries: used.search(prepared(queries), K, threads=threads),
        )
    raise SystemExit(f"no bare form of {spec}")


def bare_pgvector(url: str, table: str, ef: int) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    import psycopg
    from pgvector.psycopg import register_vector

    link = psycopg.connect(url, autocommit=True)
    register_vector(link)
    link.execute(f"SET hnsw.ef_search = {ef}")
    link.execute("SET hnsw.iterative_scan = 'strict_order'")
    statement = f"SELECT id, -(vector <#> %s::vector) FROM {table} ORDER BY vector <#> %s::vector LIMIT {K}"

    def one(queries: Any) -> Any:
        from pgvector import Vector

        query = Vector(queries[0])
        return link.execute(statement, [query, query]).fetchall()

    def many(queries: Any) -> Any:
        from pgvector import Vector

        with link.pipeline():
            asked = [link.execute(statement, [Vector(query)] * 2) for query in queries]
        return [cursor.fetchall() for cursor in asked]

    return one, many


SWEEP = {
    "exact": [""],
    "faiss:flat": [""],
    "faiss:hnsw": ["ef=16", "ef=32", "ef=64", "ef=128", "ef=256"],
    "faiss:ivf": ["probe=4", "probe=8", "probe=16", "probe=32", "probe=64", "probe=128"],
    "faiss:pq": ["probe=8", "probe=16", "probe=32", "probe=64", "probe=128"],
    "annoy?trees=50": ["nodes=500", "nodes=1000", "nodes=2000", "nodes=5000", "nodes=20000"],
    "hnsw": ["ef=16", "ef=32", "ef=64", "ef=128", "ef=256"],
    "hnsw?type=i8": ["ef=16", "ef=32", "ef=64", "ef=128", "ef=256"],
}


def join(spec: str, option: str) -> str:
    return spec + (("&" if "?" in spec else "?") + option if option else "")


def recall(index: Any, queries: Any, rows: Any, truth: Any, k: int = K) -> float:
    found = index.search(queries, k)
    good = sum(
        float(queries[line] @ rows[int(name)]) >= truth[line] - 1e-6
        for line, hits in enumerate(found)
        for name, _ in hits
    )
    return float(good / (k * len(queries)))


def paced(work: Callable[[], Any], seconds: float) -> float:
    """Calls a second, over at least so many seconds."""
    count, started = 0, time.perf_counter()
    while (now := time.perf_counter()) - started < seconds or not count:
        work()
        count += 1
    return count / (now - started)


def ratio(arguments: argparse.Namespace) -> None:
    if arguments.data == "embedded":
        rows = np.ascontiguousarray(embedded(arguments.rows, arguments.cache))
    elif arguments.data == "sift":
        packed = (Path(os.environ["RUNG_DATA"]) / "sift_5k/sift-dataset-5k.tsv.gz").read_bytes()
        lines = gzip.decompress(packed).decode().splitlines()
        rows = np.array([[float(cell) for cell in line.split("\t")[:128]] for line in lines], np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    else:
        rows = read_vectors(Path(arguments.data))
    count = min(QUERIES, len(rows) // 5)
    queries, rows = np.ascontiguousarray(rows[-count:]), np.ascontiguousarray(rows[:-count])
    truth = find_truth(rows, queries, K)
    ids = [str(row) for row in range(len(rows))]
    print(
        f"{len(rows):,} x {rows.shape[1]}, {count} queries, {arguments.rounds} alternating rounds, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'backend':42} recall  single q/s (bare)        ratio  best  batch q/s (bare)        ratio  best")
    for backend in arguments.backends or list(SWEEP):
        postgres = None
        if backend == "pgvector":
            from tests import postgres as servers

            postgres = servers.serve(vector=True, durable=False)
            url = postgres.__enter__()
            base, sweep = f"pgvector:{url}/bench", ["ef=40", "ef=100", "ef=200"]
        else:
            base, sweep = backend, SWEEP[backend]
        with tempfile.TemporaryDirectory() as folder:
            index = open_index(base, Path(folder), rows.shape[1])
            index.add(ids, rows)
            index.flush()
            for option in sweep:
                index.close()
                index = open_index(join(base, option), Path(folder), rows.shape[1])
                got = recall(index, queries, rows, truth)
                if got >= 0.95:
                    break
            if backend == "pgvector":
                one, many = bare_pgvector(url, "bench", int(option.partition("=")[2]))
            else:
                one, many = bare(backend, index, rows)
            numbers: dict[str, list[float]] = {"one": [], "one bare": [], "many": [], "many bare": []}
            turn = itertools.cycle(range(count))
            asked = [queries[at : at + 1] for at in range(count)]

            def one_by_one(ask: Callable[[Any], Any], size: int) -> float:
                started = time.perf_counter()
                for _ in range(size):
                    ask(asked[next(turn)])  # noqa: B023
                return size / (time.perf_counter() - started)

            def at_once(ask: Callable[[Any], Any]) -> float:
                started = time.perf_counter()
                ask(queries)
                return count / (time.perf_counter() - started)

            def ours(some: Any) -> Any:
                return index.search(some, K)  # noqa: B023

            # Blocks of a few hundredths of a second in turn, so that other work on the machine falls on both alike.
            size = max(3, int(0.03 * one_by_one(one, 20)))
            for round in range(arguments.rounds * 10):
                for name, ask in (
                    (("one", ours), ("one bare", one)) if round % 2 else (("one bare", one), ("one", ours))
                ):
                    numbers[name].append(one_by_one(ask, size))
            for round in range(arguments.rounds):
                for name, ask in (
                    (("many", ours), ("many bare", many)) if round % 2 else (("many bare", many), ("many", ours))
                ):
                    numbers[name].append(at_once(ask))
            middle = {name: statistics.median(values) for name, values in numbers.items()}
            single = statistics.median(a / b for a, b in zip(numbers["one"], numbers["one bare"], strict=True))
            batch = statistics.median(a / b for a, b in zip(numbers["many"], numbers["many bare"], strict=True))
            best = {name: max(values) for name, values in numbers.items()}
            print(
                f"{join(backend, option):42} {got:.3f}  {middle['one']:>8,.0f} ({middle['one bare']:>8,.0f})  {single:>9.2f}"
                f" {best['one'] / best['one bare']:>5.2f}"
                f"  {middle['many']:>8,.0f} ({middle['many bare']:>8,.0f})  {batch:>8.2f}"
                f" {best['many'] / best['many bare']:>5.2f}",
                flush=True,
            )
            index.close()
        if postgres is not None:
            postgres.__exit__(None, None, None)


# ---------------------------------------------------------------- a million


def memory() -> tuple[float, float]:
    """MB resident now, and of those not backed by a file."""
    status = Path("/proc/self/status").read_text()
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["RssAnon"].split()[0]) / 1024


def build(arguments: argparse.Namespace) -> dict[str, Any]:
    vectors = embedded(arguments.rows, arguments.cache)
    rows, step = arguments.rows, 50_000
    before = memory()
    started = time.perf_counter()
    if arguments.bare:
        import faiss

        used = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
        used.hnsw.efConstruction = 80
        for at in range(0, rows, step):
            used.add(np.ascontiguousarray(vectors[at : at + step]))
    else:
        index = open_index(arguments.spec, arguments.folder, vectors.shape[1])
        for at in range(0, rows, step):
            lot = np.ascontiguousarray(vectors[at : at + step])
            metadata = [{"tenth": row % 10} for row in range(at, at + len(lot))]
            index.add([str(row) for row in range(at, at + len(lot))], lot, metadata)
            print(f"  {at + len(lot):,} after {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    built = time.perf_counter()
    if arguments.bare:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        faiss.write_index(used, str(arguments.folder / "bare.faiss"))
        os.sync()
    else:
        index.flush()
    flushed = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = sum(path.stat().st_size for path in arguments.folder.iterdir())
    return {
        "build s": built - started,
        "persist s": flushed - built,
        "peak MB": peak,
        "anonymous MB": memory()[1] - before[1],
        "disk MB": size / 1e6,
    }


def search(arguments: argparse.Namespace) -> dict[str, Any]:
    vectors = embedded(arguments.rows, arguments.cache)
    queries = np.ascontiguousarray(vectors[-QUERIES:])
    truth_file = arguments.cache / f"truth-{arguments.rows}.npy"
    if not truth_file.exists():
        np.save(truth_file, find_truth(vectors[: arguments.rows], queries, K))
    truth = np.load(truth_file)
    rows = vectors[: arguments.rows]
    started = time.perf_counter()
    if arguments.bare:
        import faiss

        used: Any = faiss.read_index(str(arguments.folder / "bare.faiss"))
        used.hnsw.efSearch = arguments.ef
        faiss.omp_set_num_threads(1)
        used.search(queries[:1], K)
        opened = time.perf_counter() - started
        found = used.search(queries, K)[1]
        got = sum(
            float(queries[line] @ rows[row]) >= truth[line] - 1e-6
            for line, hits in enumerate(found)
            for row in hits.tolist()
        ) / (K * QUERIES)
        times = timed(lambda query: used.search(query, K), queries)
        faiss.omp_set_num_threads(len(os.sched_getaffinity(0)))
        batch = max(QUERIES * paced(lambda: used.search(queries, K), 1.0) for _ in range(3))
        filtered: dict[str, float] = {}
        changed: dict[str, float] = {}
    else:
        index = open_index(join(arguments.spec, arguments.option), arguments.folder, vectors.shape[1])
        index.search(queries[:1], K)
        opened = time.perf_counter() - started
        got = recall(index, queries, rows, truth)
        times = timed(lambda query: index.search(query, K), queries)
        batch = max(QUERIES * paced(lambda: index.search(queries, K), 1.0) for _ in range(3))
        lines = timed(lambda query: index.search(query, K, {"tenth": 3}), queries[:200])
        filtered = {"filtered (1 in 10) q/s": 1 / statistics.fmean(lines)}
        changed = {}
    resident = memory()
    if arguments.change and not arguments.bare:
        changed = change(index, vectors)
    return {
        "open + first query s": opened,
        "recall@10": got,
        "single q/s": 1 / statistics.fmean(times),
        "p99 ms": 1000 * sorted(times)[int(0.99 * len(times))],
        "batch q/s": batch,
        "RSS MB": resident[0],
        "anonymous MB": resident[1],
        **filtered,
        **changed,
    }


def change(index: Any, vectors: Any) -> dict[str, float]:
    """Take rows out and put them in again, as a user would: by the thousand, and one by one with a flush each."""
    out = {}
    started = time.perf_counter()
    index.delete(["0"])
    out["first write s"] = time.perf_counter() - started
    started = time.perf_counter()
    index.delete([str(row) for row in range(1, 1001)])
    index.flush()
    out["delete 1000 s"] = time.perf_counter() - started
    started = time.perf_counter()
    index.add([str(row) for row in range(1001)], np.ascontiguousarray(vectors[:1001]), [{"tenth": 0}] * 1001)
    index.flush()
    out["add 1000 s"] = time.perf_counter() - started
    waits = []
    for row in range(100):
        started = time.perf_counter()
        index.upsert([str(row)], np.ascontiguousarray(vectors[row : row + 1]), [{"tenth": 0}])
        index.flush()
        waits.append(time.perf_counter() - started)
    out["durable upsert of one p50 ms"] = 1000 * statistics.median(waits)
    queries = np.ascontiguousarray(vectors[:50])
    out["found again"] = (
        sum(hits[0][0] == str(row) or hits[0][1] > 0.999 for row, hits in enumerate(index.search(queries, 1))) / 50
    )
    out["RSS after writing MB"] = memory()[0]
    started = time.perf_counter()
    index.close()
    out["close s"] = time.perf_counter() - started
    return out


def timed(ask: Callable[[Any], Any], queries: Any) -> list[float]:
    out = []
    for at in range(len(queries)):
        started = time.perf_counter()
        ask(queries[at : at + 1])
        out.append(time.perf_counter() - started)
    return out


def million(arguments: argparse.Namespace) -> None:
    embedded(arguments.rows, arguments.cache)
    folder = arguments.cache / ("bare" if arguments.bare else arguments.spec.replace("?", "-").replace(":", "-"))
    shutil.rmtree(folder, ignore_errors=True)
    name = "faiss.IndexHNSWFlat, bare" if arguments.bare else arguments.spec
    print(f"{name}, {arguments.rows:,} x 256, load {os.getloadavg()[0]:.1f}", flush=True)

    def step(*more: str) -> dict[str, Any]:
        command = [sys.executable, __file__, *more, "--rows", str(arguments.rows), "--cache", str(arguments.cache)]
        command += ["--folder", str(folder), "--spec", arguments.spec, *(["--bare"] if arguments.bare else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    show(step("build"))
    options = (arguments.settings or SETTINGS[arguments.spec.partition("?")[0]]).split(",")
    for option in options:
        found = step("search", "--option", option, "--ef", option.partition("=")[2])
        print(f"  {option}: ", end="")
        show(found)
        if found["recall@10"] >= 0.95:
            break
    if not arguments.bare:
        show(step("search", "--option", option, "--change"))
    if not arguments.keep:
        shutil.rmtree(folder, ignore_errors=True)


SETTINGS = {
    "hnsw": "ef=32,ef=64,ef=128,ef=256",
    "faiss:hnsw": "ef=32,ef=64,ef=128,ef=256",
    "faiss:ivf": "probe=16,probe=32,probe=64,probe=128,probe=256",
    "faiss:pq": "probe=16,probe=32,probe=64,probe=128,probe=256",
    "exact": "type=f32",
}


def show(numbers: dict[str, Any]) -> None:
    print(
        "  "
        + "; ".join(
            f"{name} {value:,.3g}" if value < 100 else f"{name} {value:,.0f}" for name, value in numbers.items()
        ),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["ratio", "million", "build", "search"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--backends", nargs="*")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "rung-bench-backends")
    parser.add_argument("--spec", default="hnsw")
    parser.add_argument("--settings", default="")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--option", default="")
    parser.add_argument("--ef", default=64, type=int)
    parser.add_argument("--change", action="store_true")
    arguments = parser.parse_args()
    arguments.rows = arguments.rows or (20_000 if arguments.what == "ratio" else 1_000_000)
    if arguments.what in ("build", "search"):
        print(json.dumps({"build": build, "search": search}[arguments.what](arguments)))
        return
    names = ("numpy", "faiss-cpu", "usearch", "annoy", "pgvector")
    print(platform.platform(), platform.python_version(), *(f"{name} {version(name)}" for name in names))
    {"ratio": ratio, "million": million}[arguments.what](arguments)


if __name__ == "__main__":
    main()
