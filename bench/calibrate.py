"""Measures the ranges that ``minilm`` is quantised with, and writes src/rung/models/embed/minilm.npz.

    RUNG_DATA=FOLDER python bench/calibrate.py

The texts are requests (banking77), abstracts (scitldr_a) and prose (gutenberg) from the folder of public data; none of the sets
on which the embedder is measured. Only the lowest and highest value of each channel are kept.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import openvino as ov
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from rung.core.settings import Settings
from rung.models import hub
from rung.models.embed.minilm import LENGTH, RANGES, batches, graph


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["RUNG_DATA"])
    texts = [row[0] for row in csv.reader(io.StringIO(read(data / "banking77/train.csv.gz")))][1:41]
    texts += [" ".join(json.loads(line)["source"]) for line in read(data / "scitldr_a/dev.jsonl.gz").splitlines()[:60]]
    for path in sorted((data / "gutenberg").glob("*.gz"))[:4]:
        prose = read(path)[20_000:26_000]
        texts += [prose[start : start + 600] for start in range(0, 6000, 600)]
    folder = hub.locate("minilm", Settings().cache)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LENGTH)
    model, places = graph(load_file(folder / "model.safetensors"), None, tap=True)
    run = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    low: dict[str, np.ndarray] = {}
    high: dict[str, np.ndarray] = {}
    for _, ids, mask in batches([item.ids for item in tokenizer.encode_batch(texts)]):
        found = run([ids, mask])
        for at, place in enumerate(places, 1):
            rows = found[at][mask > 0]
            low[place] = np.minimum(low.get(place, np.inf), rows.min(axis=0))
            high[place] = np.maximum(high.get(place, -np.inf), rows.max(axis=0))
    np.savez_compressed(
        RANGES,
        allow_pickle=False,
        **{place: np.stack([low[place], high[place]]).astype(np.float16) for place in places},
    )
    print(f"{RANGES}: {len(places)} places, {RANGES.stat().st_size:,} bytes, from {len(texts)} texts")


def read(path: Path) -> str:
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return stream.read()


if __name__ == "__main__":
    main()
