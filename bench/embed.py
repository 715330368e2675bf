"""Embedders beside their peers, and which of them finds the passage that answers a question.

    RUNG_DATA=FOLDER python bench/embed.py --peers PYTHON [--part static,minilm,recall] [--passages 20000] [--rounds 5]

PYTHON is an interpreter that has wordllama, model2vec and sentence-transformers (and torch). Peers run in a process of their
own, on the same texts, in turn with ours; figures are medians of the rounds. Ours is opened anew each round, so that it
remembers no words. wordllama's own loader fails without a network (it looks for the tokenizer in a folder that its wheel names
otherwise), so its inference class gets the two files; model2vec gets the same vectors and tokenizer.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PEER = r"""
import json, logging, sys, time, os
import numpy as np
folder, texts_file = sys.argv[1:3]
texts = json.load(open(texts_file, encoding="utf-8"))
real, sys.stdout = sys.stdout, sys.stderr
opened = {}

def open_peer(name):
    if name == "sentence-transformers":
        from sentence_transformers import SentenceTransformer
        model = SentenceTransformer(folder, device="cpu", local_files_only=True)
        return lambda items: model.encode(items, normalize_embeddings=True, show_progress_bar=False)
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer
    table = load_file(os.path.join(folder, "l2_supercat_256.safetensors"))["embedding.weight"]
    tokenizer = Tokenizer.from_file(os.path.join(folder, "l2_supercat_tokenizer_config.json"))
    if name == "wordllama":
        from wordllama.inference import WordLlamaInference
        model = WordLlamaInference(table, tokenizer)
        return lambda items: model.embed(items, norm=True)
    from model2vec import StaticModel
    model = StaticModel(table.astype(np.float32), tokenizer, normalize=True, max_length=None)
    many = name.endswith("processes")
    return lambda items: model.encode(items, use_multiprocessing=many)

for line in sys.stdin:
    name, count, out = json.loads(line)
    if name not in opened:
        opened[name] = open_peer(name)
        opened[name](texts[:8])
    start, cpu = time.perf_counter(), sum(os.times()[:4])
    rows = opened[name](texts[:count])
    seconds, cpu = time.perf_counter() - start, sum(os.times()[:4]) - cpu
    if out:
        np.save(out, rows)
    print(json.dumps([seconds, cpu]), file=real, flush=True)
"""


class Peer:
    """A process of the peers' interpreter that embeds the texts of one file when told to."""

    def __init__(self, python: str, folder: Path, texts: Path) -> None:
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [python, "-c", PEER, str(folder), str(texts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, name: str, count: int, out: Path | None = None) -> tuple[float, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([name, count, str(out) if out else ""]), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer {name} died")
        seconds, cpu = json.loads(line)
        return seconds, cpu

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def read(path: Path) -> str:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return stream.read()


def passages(data: Path, count: int, words: int = 100) -> list[str]:
    """Passages of 100 words from novels, papers and abstracts, a mixture in equal steps."""
    papers = json.loads(read(data / "covid_qa/covid_qa_200423.json.gz"))
    sources = [
        " ".join(read(path) for path in sorted((data / "gutenberg").glob("*.gz"))),
        " ".join(dict.fromkeys(p["context"] for item in papers["data"] for p in item["paragraphs"])),
        " ".join(" ".join(json.loads(line)["source"]) for line in read(data / "scitldr_a/train.jsonl.gz").splitlines()),
        read(data / "wikitext2/test.txt.gz"),
    ]
    found = []
    for source in sources:
        split = source.split()
        found += [" ".join(split[at : at + words]) for at in range(0, len(split) - words, words)]
    step = max(1.0, len(found) / count)
    return [found[int(at * step)] for at in range(min(count, len(found)))]


def race(
    title: str, texts: list[str], ours: str, peers: list[str], python: str, folder: Path, rounds: int, exact: str
) -> None:
    from rung.models import open_embedder

    with tempfile.TemporaryDirectory() as temporary:
        listed = Path(temporary) / "texts.json"
        listed.write_text(json.dumps(texts), encoding="utf-8")
        peer = Peer(python, folder, listed)
        wall: dict[str, list[float]] = {name: [] for name in ("rung", *peers)}
        cpu: dict[str, list[float]] = {name: [] for name in ("rung", *peers)}
        rows: Any = None
        for _ in range(rounds):
            embedder = open_embedder(ours)
            embedder.embed(["a word"] * 1000)  # opened, as the peers are
            start, used = time.perf_counter(), time.process_time()
            rows = embedder.embed(texts)
            wall["rung"].append(time.perf_counter() - start)
            cpu["rung"].append(time.process_time() - used)
            for name in peers:
                seconds, spent = peer.ask(name, len(texts))
                wall[name].append(seconds)
                cpu[name].append(spent)
        peer.ask(exact, len(texts), Path(temporary) / "rows.npy")
        theirs = np.load(Path(temporary) / "rows.npy")
        peer.close()
    print(f"\n## {title}: {len(texts):,} passages, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    print(f"{'':28} passages/s   CPU ms/passage   ours is faster   in CPU")
    for name in wall:
        seconds, spent = statistics.median(wall[name]), statistics.median(cpu[name])
        ratio = statistics.median(a / b for a, b in zip(wall[name], wall["rung"], strict=True))
        less = statistics.median(a / b for a, b in zip(cpu[name], cpu["rung"], strict=True))
        print(f"{name:28} {len(texts) / seconds:10,.0f} {1000 * spent / len(texts):16.3f} {ratio:15.2f}x {less:8.2f}x")
    cosine = (rows * theirs / np.linalg.norm(theirs, axis=1, keepdims=True)).sum(axis=1)
    low = np.quantile(cosine, 0.01)
    print(
        f"cosine with {exact}: mean {cosine.mean():.5f}, 1st percentile {low:.5f}, lowest {cosine.min():.5f}",
        flush=True,
    )


def recall(data: Path, names: list[str], k: int = 5) -> None:
    """Questions of XQuAD-en: is the paragraph that a question was asked about among the k nearest of the 240?"""
    from rung.core.types import Score
    from rung.metrics import stats
    from rung.metrics.mean import Mean
    from rung.models import fit_embedder, open_embedder

    class Recall(Mean):
        name = f"recall@{k}"

    paragraphs = [
        p for item in json.loads(read(data / "xquad_en/xquad.en.json.gz"))["data"] for p in item["paragraphs"]
    ]
    texts = [p["context"] for p in paragraphs]
    asked = [(qa["question"], row) for row, p in enumerate(paragraphs) for qa in p["qas"]]
    gold = np.array([row for _, row in asked])
    print(f"\n## recall@{k}: {len(asked):,} questions of XQuAD-en over {len(texts)} passages")
    scores: dict[str, list[Score]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for at, name in enumerate(names):
            opened: Any
            if name.partition("?")[0] in ("tfidf", "onehot") or "pooling=sif" in name:
                opened = fit_embedder(name, texts, Path(temporary) / f"{at}.npz")
            else:
                opened = open_embedder(name)
            start = time.perf_counter()
            near = opened.embed([question for question, _ in asked]) @ opened.embed(texts).T
            seconds = time.perf_counter() - start
            rank = (near > near[np.arange(len(gold)), gold][:, None]).sum(axis=1)
            scores[name] = [Score(float(value)) for value in rank < k]
            found = stats.interval(Recall(), scores[name])
            print(f"{name:34} {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]  {seconds:7.1f} s", flush=True)
    base = next(name for name in names if name.startswith("words:"))
    for name in names:
        if name != base:
            d = stats.paired(Recall(), scores[name], scores[base])
            print(f"{name} - {base}: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}] p {d.p:.2g}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=os.environ.get("RUNG_DATA"))
    parser.add_argument("--peers", default="")
    parser.add_argument("--part", default="static,minilm,recall")
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--embedders", default="words:glove,words:glove?pooling=sif,onehot,tfidf,static,minilm?cache=off"
    )
    given = parser.parse_args()
    if given.data is None:
        raise SystemExit("name the folder of public data: --data FOLDER, or RUNG_DATA=FOLDER")
    from rung.core.settings import Settings
    from rung.models import hub

    cache = Settings().cache
    parts = given.part.split(",")
    if "static" in parts:
        texts = passages(given.data, given.passages)
        names = ["wordllama", "model2vec", "model2vec, processes"]
        race("static", texts, "static", names, given.peers, hub.locate("static", cache), given.rounds, "wordllama")
    if "minilm" in parts:
        texts = passages(given.data, given.sentences)
        with tempfile.TemporaryDirectory() as temporary:
            folder = sentence_folder(hub.locate("minilm", cache), Path(temporary))
            name = "sentence-transformers"
            race("MiniLM", texts, "minilm?cache=off", [name], given.peers, folder, max(3, given.rounds // 2), name)
    if "recall" in parts:
        recall(given.data, given.embedders.split(","))


def sentence_folder(weights: Path, folder: Path) -> Path:
    """The pulled weights laid out as sentence-transformers saves them."""
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).symlink_to(weights / name)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(kinds)
    ]
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6,
        "num_attention_heads": 12, "intermediate_size": 1536, "vocab_size": 30522, "max_position_embeddings": 512,
        "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
    }  # fmt: skip
    files: dict[str, Any] = {
        "modules.json": modules,
        "config.json": config,
        "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512},
        "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    }
    for path, value in files.items():
        with (folder / path).open("w", encoding="utf-8") as stream:
            json.dump(value, stream)
    return folder


if __name__ == "__main__":
    main()
