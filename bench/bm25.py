"""Keyword search beside tantivy and bm25s: seconds to build and persist, queries a second, p99, and known items found.

python bench/bm25.py [--peer PYTHON] [--passages 20000] [--rounds 3]

PYTHON is an interpreter with tantivy and bm25s (and PyStemmer). Passages are 100 words of docstrings of the Python files in this
interpreter's library and site-packages; a query is 12 words in a row of a passage, which is to be found again. Engines take
turns in processes of their own; medians over the rounds. Queries run on one thread each; their CPU time says more than their
wall time where the machine has other work. --corpus FILE takes the passages from a JSON list of texts.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import warnings
from pathlib import Path
from typing import Any

WORDS = 100
ASKED = 12
QUERIES = 1000

RUNNER = r"""
import json, shutil, sys, time, tempfile, resource
engine, corpus = sys.argv[1:3]
texts, queries = json.load(open(corpus))
import numpy as np
folder = tempfile.mkdtemp()
clock, cpu = time.perf_counter, time.process_time
if engine.startswith("rung"):
    from pathlib import Path
    from rung.retrieval.keyword.analysis import Analysis
    from rung.retrieval.keyword.keyword import KeywordIndex
    began, used = clock(), cpu()
    index = KeywordIndex(Analysis(stop="stop" in engine, stem="stem" in engine))
    index.add([str(n) for n in range(len(texts))], texts)
    index.save(Path(folder), 1)
    built = clock() - began, cpu() - used
    index = KeywordIndex.open(Path(folder))
    ask = lambda query: [int(id) for id, _ in index.search(query, 10)]
elif engine.startswith("tantivy"):
    import tantivy
    began, used = clock(), cpu()
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("n", stored=True)
    builder.add_text_field("t", tokenizer_name="en_stem" if "stem" in engine else "default", index_option="freq")
    index = tantivy.Index(builder.build(), path=folder)
    writer = index.writer(heap_size=256_000_000, num_threads=1 if "1" in engine else 0)
    for n, text in enumerate(texts):
        document = tantivy.Document()
        document.add_integer("n", n)
        document.add_text("t", text)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    built = clock() - began, cpu() - used
    index.reload()
    searcher = index.searcher()
    def ask(query):
        hits = searcher.search(index.parse_query(query, ["t"]), 10, count=False).hits
        return [searcher.doc(at)["n"][0] for _, at in hits]
else:
    import bm25s, Stemmer
    stemmer = Stemmer.Stemmer("english")
    began, used = clock(), cpu()
    tokens = bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    index.save(folder)
    built = clock() - began, cpu() - used
    def ask(query):
        found, _ = index.retrieve(bm25s.tokenize([query], stopwords="en", stemmer=stemmer, show_progress=False), k=10, show_progress=False)
        return found[0].tolist()
spent, hit = [], 0
for _, query in queries:
    ask(query)
waited = []
thread = time.thread_time
for place, query in queries:
    began, used = clock(), thread()
    found = ask(query)
    spent.append(thread() - used)
    waited.append(clock() - began)
    hit += place in found
shutil.rmtree(folder)
print(json.dumps({
    "build": built[0], "cpu": built[1], "qps": 1 / float(np.mean(spent)), "p50": 1e3 * float(np.median(waited)),
    "p99": 1e3 * float(np.percentile(spent, 99)), "worst": 1e3 * float(np.percentile(waited, 99)), "hit": hit / len(queries),
    "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def passages(wanted: int) -> list[str]:
    """Docstrings, each text once, cut every WORDS words."""
    warnings.simplefilter("ignore")
    paths = sysconfig.get_paths()
    files = sorted({*Path(paths["stdlib"]).rglob("*.py"), *Path(paths["purelib"]).rglob("*.py")})
    random.Random(0).shuffle(files)
    seen: set[str] = set()
    out: list[str] = []
    words: list[str] = []
    for path in files:
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                text = ast.get_docstring(node, clean=False)
                if text and text not in seen:
                    seen.add(text)
                    words += text.split()
        while len(words) >= WORDS:
            text, words = " ".join(words[:WORDS]), words[WORDS:]
            if text not in seen:
                seen.add(text)
                out.append(text)
        if len(out) >= wanted:
            break
    return out[:wanted]


def questions(texts: list[str]) -> list[tuple[int, str]]:
    rng = random.Random(1)
    out: list[tuple[int, str]] = []
    while len(out) < QUERIES:
        place = rng.randrange(len(texts))
        words = texts[place].split()
        start = rng.randrange(len(words) - ASKED)
        query = " ".join(re.findall(r"[a-z0-9]+", " ".join(words[start : start + ASKED]).lower()))
        if query:  # tantivy's query language must not see operators
            out.append((place, query))
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", default="")
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    engines = [("rung stem stop", sys.executable), ("rung", sys.executable)]
    if options.peer:
        engines += [(name, options.peer) for name in ("tantivy", "tantivy stem", "tantivy stem 1 thread", "bm25s")]
    texts = json.loads(options.corpus.read_text()) if options.corpus else passages(options.passages)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in engines}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as corpus:
        json.dump((texts, questions(texts)), corpus)
        corpus.flush()
        for _ in range(options.rounds):
            for name, python in engines:
                done = subprocess.run(
                    [python, "-c", RUNNER, name, corpus.name], capture_output=True, text=True, check=True
                )
                found[name].append(json.loads(done.stdout))
    print(f"{len(texts):,} passages, {QUERIES:,} queries of {ASKED} words, medians of {options.rounds} rounds\n")
    print(
        "| engine | build and persist s | of it CPU s | queries a CPU second | p99 CPU ms | p50 ms | p99 ms | hit@10 | peak MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, runs in found.items():
        values = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            "| {} | {build:.2f} | {cpu:.2f} | {qps:,.0f} | {p99:.2f} | {p50:.2f} | {worst:.2f} | {hit:.3f} | {rss:.0f} |".format(
                name, **values
            )
        )


if __name__ == "__main__":
    main()
