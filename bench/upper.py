"""LoRA on the upper layers alone beside LoRA on all of them: quality on test, paired, and the cost of training.

    python bench/upper.py DATA [--sets support-intent,banking77,sst2] [--shares 1,0.34] [--epochs 5] [--rows 320] [--to FOLDER]

Sets: support-intent (the built-in pack, whole), banking77 (24 of its intents), clinc150 (40), sst2; DATA holds the public ones' files.
An answer is right when every token of it is the model's first choice, which is what greedy decoding would say. Each variant is
trained once in a process of its own and kept in FOLDER: the same command goes on where it was stopped, and shows the table again.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Pairs = list[tuple[str, str]]
INSTRUCTIONS = {
    "banking77": "Say which intent the customer's question to the bank has.",
    "clinc150": "Say which intent the user's message has.",
    "sst2": "Say whether the sentence from a film review is positive or negative.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", default="support-intent,banking77,sst2")
    parser.add_argument("--shares", default="1,0.34")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--to", type=Path, default=Path(tempfile.gettempdir()) / "upper")
    parser.add_argument("--work", nargs=2, metavar=("SET", "SHARE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options, *options.work)
        return
    options.to.mkdir(parents=True, exist_ok=True)
    for name in options.sets.split(","):
        for share in options.shares.split(","):
            if not place(options, name, share).exists():
                subprocess.run([sys.executable, __file__, *sys.argv[1:], "--work", name, share], check=True)
    for name in options.sets.split(","):
        table(options, name)


def place(options: argparse.Namespace, name: str, share: str) -> Path:
    return Path(options.to) / f"{name}-{share}-{options.epochs}-{options.rows}.json"


def drawn(pairs: Sequence[tuple[str, str]], count: int, draw: random.Random) -> Pairs:
    pairs = list(pairs)
    draw.shuffle(pairs)
    return pairs[:count]


def splits(name: str, data: Path, rows: int) -> tuple[Pairs, Pairs, Pairs]:
    """(text, answer) pairs: train, dev, test."""
    draw = random.Random(7)
    if name == "clinc150":
        with gzip.open(data / "clinc150/data_full.json.gz", "rt") as stream:
            whole = json.load(stream)
        labels = sorted({label for _, label in whole["train"]})
        chosen = set(draw.sample(labels, 40))
        parts = [[(text, label) for text, label in whole[part] if label in chosen] for part in ("train", "val", "test")]
        return drawn(parts[0], rows, draw), drawn(parts[1], rows // 4, draw), drawn(parts[2], 300, draw)
    if name == "banking77":
        with gzip.open(data / "banking77/train.csv.gz", "rt") as stream:
            train = [(row["text"], row["category"]) for row in csv.DictReader(stream)]
        with (data / "banking77/test.csv").open(encoding="utf-8") as stream:
            test = [(row["text"], row["category"]) for row in csv.DictReader(stream)]
        chosen = set(draw.sample(sorted({label for _, label in train}), 24))
        train, test = ([pair for pair in part if pair[1] in chosen] for part in (train, test))
    else:
        with gzip.open(data / "sst2/train.tsv.gz", "rt") as stream:
            train = [sentiment(line) for line in stream]
        test = [sentiment(line) for line in (data / "sst2/dev.tsv").read_text(encoding="utf-8").splitlines()]
    train = drawn(train, rows * 5 // 4, draw)
    return train[:rows], train[rows:], drawn(test, 300, draw)


def sentiment(line: str) -> tuple[str, str]:
    text, label = line.rstrip("\n").rsplit("\t", 1)
    return text, {"0": "negative", "1": "positive"}[label]


def conversations(name: str, data: Path, rows: int) -> list[Any]:
    from rung import tasks
    from rung.core.types import Message
    from rung.tuning.tune import Tune, converse, teach

    if name == "support-intent":
        task = tasks.load(name)
        prompt = Tune().prompt(task)
        return [*teach(prompt, task), converse(prompt, task.test)]
    said = Message("system", INSTRUCTIONS[name])
    return [
        [(str(place), [said, Message("user", text), Message("assistant", answer)]) for place, (text, answer) in enumerate(part)]
        for part in splits(name, data, rows)
    ]  # fmt: skip


def work(options: argparse.Namespace, name: str, share: str) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from rung.core.settings import Settings
    from rung.tuning.batches import Chat, encode, split
    from rung.tuning.compute.session import open_session, states
    from rung.tuning.trainer.loop import train
    from rung.tuning.trainer.recipe import Recipe
    from rung.tuning.trainer.state import Watch
    from rung.tuning.weights import find_base

    if options.threads:
        torch.set_num_threads(options.threads)
    base = find_base("smollm2-135m", Settings().cache)
    chat = Chat(base)
    rows, dev, test = (encode(chat, part)[0] for part in conversations(name, options.data, options.rows))
    recipe = Recipe(epochs=options.epochs, upper=float(share))
    session = open_session(base, recipe)
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        done = train(session, rows, dev, recipe, Path(folder), Watch(every=120.0))
        cpu = time.process_time() - began
    head, found = session.causal.get_output_embeddings().weight, {}
    session.model.eval()
    with torch.no_grad():
        for batch in split(test, 1024):
            logits, targets = (states(session, batch) @ head.T).float(), torch.from_numpy(batch.targets)
            losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none").tolist()
            right, at = (logits.argmax(-1) == targets).tolist(), 0
            for row in batch.members:
                span = slice(at, at + row.answers)
                found[row.id], at = (sum(losses[span]), all(right[span])), at + row.answers
    document: dict[str, Any] = {
        "cpu": cpu,
        "seconds": done.seconds,
        "precision": done.precision,
        "peak": done.peak_bytes,
        "dev": done.best.loss if done.best else 0.0,
        "loss": [found[row.id][0] for row in test],
        "right": [found[row.id][1] for row in test],
    }
    place(options, name, share).write_text(json.dumps(document))
    print(f"{name} {share}: {sum(document['right']) / len(test):.3f}, {cpu:.0f} CPU-s", flush=True)


def table(options: argparse.Namespace, name: str) -> None:
    from rung.core.types import Score
    from rung.metrics import load_metric
    from rung.metrics.stats import paired

    shares = options.shares.split(",")
    runs = {share: json.loads(place(options, name, share).read_text()) for share in shares}
    print(
        f"\n{name}, {len(runs[shares[0]]['right'])} test rows, {options.epochs} epochs, {runs[shares[0]]['precision']}"
    )
    print(
        f"{'share':>6}{'right':>8}{'loss':>8}{'dev':>8}{'CPU-s':>8}{'GB':>6}  against {shares[0]}: accuracy, loss a row"
    )
    scores = {share: [Score(float(one)) for one in run["right"]] for share, run in runs.items()}
    metric = load_metric("accuracy", None)  # type: ignore[arg-type]
    for share, run in runs.items():
        n = len(run["right"])
        line = f"{share:>6}{sum(run['right']) / n:8.3f}{sum(run['loss']) / n:8.3f}{run['dev']:8.4f}{run['cpu']:8.0f}{run['peak'] / 1e9:6.1f}"
        if share != shares[0]:
            found = paired(metric, scores[share], scores[shares[0]])
            change = mean_change(run["loss"], runs[shares[0]]["loss"])
            line += f"  {found}  {change[0]:+.3f} [{change[1]:+.3f}, {change[2]:+.3f}]"
        print(line)


def mean_change(one: Sequence[float], two: Sequence[float], resamples: int = 5000) -> tuple[float, float, float]:
    """Mean difference with the ends of its percentile bootstrap interval at 95%."""
    import numpy as np

    gaps = np.asarray(one) - np.asarray(two)
    means = gaps[np.random.default_rng(0).integers(0, len(gaps), (resamples, len(gaps)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(gaps.mean()), float(low), float(high)


if __name__ == "__main__":
    main()
