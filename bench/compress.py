"""Four-bit blocks, plain and weighed by what runs through them, beside llama.cpp's own, on one text.

    python bench/compress.py test.txt.gz --calibrate valid.txt.gz [--adapter FOLDER] [--peer FOLDER] [--tokens 16384] [--seed 0]

Each matrix of the decoder is rounded and opened again, embeddings and head are Q8_0 in all, and the loss of every token of the text is
computed by the same float32 (--precision bf16: bfloat16) code; differences are paired by rows of 512 tokens. FOLDER of --peer holds an
unpacked wheel of xllamacpp (``pip download xllamacpp --no-deps`` and unzip), whose ``ggml_quantize_chunk`` gets the same importance.
"""

from __future__ import annotations

import argparse
import ctypes
import gzip
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import torch

from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.tuning.batches import Chat, TokenRow, split, texts
from rung.tuning.compute import export, rounding
from rung.tuning.compute.session import Session, losses, open_session
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.weights import find_base

Q8 = gguf.GGMLQuantizationType.Q8_0
Q4 = gguf.GGMLQuantizationType.Q4_0
Round = Callable[[str, rounding.Matrix], rounding.Matrix]


def read(chat: Chat, path: Path, tokens: int, seed: int) -> list[TokenRow]:
    """Rows of so many tokens: a text's first ones, or, with a seed that is not 0, some of all of them."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    rows, count = [], 0
    found = list(texts(chat, [(path.name, text if seed else text[: tokens * 8])], 512))
    if seed:
        np.random.default_rng(seed).shuffle(found)
    for row in found:
        if count >= tokens:
            break
        rows.append(row)
        count += row.answers
    return rows


def llama(folder: Path) -> Callable[[rounding.Matrix, rounding.Matrix], rounding.Matrix]:
    """llama.cpp's own quantization to Q4_0 with an importance for each column."""
    found = ctypes.CDLL(str(next(folder.rglob("xllamacpp*.so"))))
    found.ggml_quantize_chunk.restype = ctypes.c_size_t

    def quantize(weight: rounding.Matrix, squares: rounding.Matrix) -> rounding.Matrix:
        rows, columns = weight.shape
        out = np.empty((rows, columns // 32 * 18), np.uint8)
        places = [np.ascontiguousarray(x, np.float32) for x in (weight, squares)]
        one, two, to = (ctypes.c_void_p(x.ctypes.data) for x in (*places, out))
        wide = ctypes.c_int64
        found.ggml_quantize_chunk(ctypes.c_int(2), one, to, wide(0), wide(rows), wide(columns), two)
        values: rounding.Matrix = gguf.quants.dequantize(out, Q4)
        return values

    return quantize


def evaluate(session: Session, rows: list[TokenRow]) -> list[np.ndarray]:
    session.model.eval()
    with torch.no_grad():
        return [losses(session, split([row], 1024)[0]).numpy() for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--model", default="openvino:smollm2-135m")
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    base = find_base(asked.model, Settings().cache)
    chat = Chat(base)
    session = open_session(base, Recipe(precision=asked.precision))
    if asked.adapter:
        export.load_adapter(session, asked.adapter)
    rows = read(chat, asked.text, asked.tokens, asked.seed)
    began = time.process_time()
    calibration = read(chat, asked.calibrate, rounding.CALIBRATION, asked.seed)
    squares = rounding.measure(session, calibration)
    spent = time.process_time() - began
    weights = {name: tensor.numpy() for name, tensor in export.merge(session).items()}
    session.vector.zero_()
    session.push()
    state = {name.replace(".base_layer", ""): tensor for name, tensor in session.causal.state_dict().items()}
    for name, values in weights.items():
        state[name].copy_(torch.from_numpy(values))
    first = evaluate(session, rows)
    own = "model.embed_tokens.weight"
    state[own].copy_(torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(weights[own], Q8), Q8)))
    kinds: dict[str, Round] = {
        "plain": lambda _, w: rounding.opened(*rounding.four_bits(w)),
        "weighed by inputs": lambda name, w: rounding.opened(*rounding.four_bits(w, squares[name])),
    }
    if asked.peer:
        peer = llama(asked.peer)
        kinds["llama.cpp, same importance"] = lambda name, w: peer(w, squares[name])
    lines = [["Q4_0", "loss a token", f"to {asked.precision}", "rounding, CPU s"]]
    lines.append(["", f"{np.concatenate(first).mean():.4f}", "", ""])
    done: list[np.ndarray] = []
    for title, rounded in kinds.items():
        began = time.process_time()
        for name in squares:
            state[name].copy_(torch.from_numpy(rounded(name, weights[name])))
        took = time.process_time() - began
        found = evaluate(session, rows)
        gaps = np.array([(a - b).mean() for a, b in zip(found, first, strict=True)])
        half = 1.96 * gaps.std(ddof=1) / np.sqrt(len(gaps))
        lines.append([title, f"{np.concatenate(found).mean():.4f}", f"{gaps.mean():+.4f} ± {half:.4f}", f"{took:.1f}"])
        print(title, *lines[-1][1:], flush=True)
        done.append(gaps)
    read_tokens = sum(map(len, calibration))
    print(align(lines))
    if asked.peer:
        gaps = done[1] - done[2]
        print(
            f"weighed by inputs to llama.cpp's: {gaps.mean():+.4f} ± {1.96 * gaps.std(ddof=1) / len(gaps) ** 0.5:.4f}"
        )
    print(f"{sum(map(len, first)):,} tokens in {len(rows)} rows; calibrated on {read_tokens:,} in {spent:.1f} CPU s")


if __name__ == "__main__":
    main()
