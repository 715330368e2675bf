"""all-MiniLM-L6-v2 (Wang et al. 2020; trained for sentences by sentence-transformers) on OpenVINO.

The graph is written here, operation by operation, from the safetensors file: no torch is needed. In ``int8`` products
take 8-bit activations and weights (scale of a weight row, one scale and zero point of an activation tensor), as
fake-quantise operations that OpenVINO's CPU plugin turns into integer kernels. Before it is quantised an input is
divided by a factor a channel which the weights are multiplied by (SmoothQuant, Xiao et al. 2023): some channels are 20
times the others. Ranges were measured once, by bench/calibrate.py, and lie in minilm.npz, so that every machine has the
same quantised model. Against the full model in float32 the cosine is 0.998 in the mean (bench/embed.py).

``precision`` is the one that the processor computes best: ``bf16`` with AMX, else ``int8`` where sums of 8-bit products
are exact, else ``f32``; ``minilm?precision=...`` names one, and so does the name of an embedder that was opened:
vectors of one collection are of one precision on every machine. Without VNNI, 8-bit products saturate (cosine 0.989);
integers that are asked for there are computed in floats. Texts of similar length share a batch, and none is padded far.
Texts are cut at 256 tokens, as the model's authors do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.program import file_hash
from rung.core.settings import Settings
from rung.core.system.extras import require
from rung.core.system.machine import Machine, machine
from rung.models import hub
from rung.models.embed import Spec, unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXTRA, WHY = "embedded", "the embedder minilm"
RANGES = Path(__file__).with_name("minilm.npz")
LAYERS, HEADS, WIDTH = 6, 12, 384
LENGTH = 256
BATCH = 16
STEP = 8
"""Lengths of batches are multiples of this: fewer shapes, for each of which kernels are made."""
SMOOTH = {"in": 0.5, "att": 0.5, "mid": 0.5, "ffn": 0.8}
"""SmoothQuant's strength by place: before q, k and v; before the attention's output; before and after the
activation."""
EPSILON = 1e-12


class MinilmEmbedder:
    """Mean of the last layer's states over a text's tokens, scaled to unit length; 384 dimensions."""

    dimensions = WIDTH

    def __init__(self, name: str, folder: Path, *, precision: str = "int8", threads: int = 0) -> None:
        self.name = name
        self._folder = folder
        self._precision = precision
        self._threads = threads
        self._lock = threading.Lock()
        self._request: Any = None

    @property
    def fingerprint(self) -> str:
        files = [self._folder / member.file for member in hub.CATALOGUE["minilm"].members]
        ranges = file_hash(RANGES) if self._precision == "int8" else ""
        return digest(["minilm", [file_hash(file) for file in files], self._precision, ranges, LENGTH])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape (len(texts), 384), float32, rows of unit length."""
        import numpy as np

        out = np.empty((len(texts), WIDTH), np.float32)
        with self._lock:
            if self._request is None:
                self._load()
            clean = [text.encode("utf-8", "replace").decode() for text in texts]
            ids = [item.ids for item in self._tokenizer.encode_batch_fast(clean)]
            for rows, padded, mask in batches(ids):
                out[rows] = self._request.infer([padded, mask])[0]
        return unit(out)

    def _load(self) -> None:
        ov = require("openvino", EXTRA, WHY)
        files = hub.CATALOGUE["minilm"].members
        weights = require("safetensors.numpy", EXTRA, WHY).load_file(self._folder / files[0].file)
        tokenizer = require("tokenizers", EXTRA, WHY).Tokenizer.from_file(str(self._folder / files[1].file))
        tokenizer.no_padding()
        tokenizer.enable_truncation(LENGTH)
        ranges = read_ranges() if self._precision == "int8" else None
        model, _ = graph(weights, ranges)
        hint = "bf16" if self._precision == "bf16" and machine().bfloat16 else "f32"
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        if not machine().exact_int8:
            options["LP_TRANSFORMS_MODE"] = False  # the same quantised model, its products in floats
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = str(self._threads)
        self._tokenizer = tokenizer
        self._request = ov.Core().compile_model(model, "CPU", options).create_infer_request()


def batches(
    ids: Sequence[Sequence[int]],
) -> Iterator[tuple[list[int], NDArray[np.int32], NDArray[np.float32]]]:
    """Texts of similar length together: their rows, token ids padded to shape (texts, length), and 1 where a token
    is."""
    import numpy as np

    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        length = -(-len(ids[rows[-1]]) // STEP) * STEP
        padded, mask = np.zeros((len(rows), length), np.int32), np.zeros((len(rows), length), np.float32)
        for at, row in enumerate(rows):
            padded[at, : len(ids[row])] = ids[row]
            mask[at, : len(ids[row])] = 1.0
        yield rows, padded, mask


def read_ranges() -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Lowest and highest value seen in each channel of each matrix product's input, by place."""
    import numpy as np

    with np.load(RANGES, allow_pickle=False) as file:
        return {name: (file[name][0].astype(np.float32), file[name][1].astype(np.float32)) for name in file.files}


def graph(
    weights: dict[str, NDArray[np.float32]],
    ranges: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]] | None,
    *,
    tap: bool = False,
) -> tuple[Any, list[str]]:
    """The OpenVINO model from (ids, mask) of shape (texts, length) to vectors of shape (texts, 384), and the places.

    With ``tap`` the inputs of the matrix products are further outputs, in the order of the places.
    """
    import numpy as np

    ov = require("openvino", EXTRA, WHY)
    op = require("openvino.opset13", EXTRA, WHY)
    places: list[str] = []
    tapped: list[Any] = []

    def constant(value: Any, kind: Any = np.float32) -> Any:
        return op.constant(np.asarray(value, kind))

    def linear(x: Any, place: str, name: str) -> Any:
        if place not in places:
            places.append(place)
            tapped.append(x)
        matrix, bias = weights[f"{name}.weight"], constant(weights[f"{name}.bias"][None, None])
        if ranges is None:
            return op.add(op.matmul(x, constant(matrix), False, True), bias)
        low, high = ranges[place]
        strength = SMOOTH[place.partition(".")[2]]
        factor = np.maximum(np.maximum(abs(low), abs(high)), 1e-4) ** strength
        factor /= np.maximum(np.abs(matrix).max(axis=0), 1e-4) ** (1 - strength)
        factor /= factor.mean()
        least, most = constant((low / factor).min()), constant((high / factor).max())
        x = op.fake_quantize(op.multiply(x, constant((1 / factor)[None, None])), least, most, least, most, 256)
        end = np.abs(matrix * factor).max(axis=1, keepdims=True)
        ends = constant(-end), constant(end)
        quantised = op.fake_quantize(constant(matrix * factor), *ends, *ends, 255)
        return op.add(op.matmul(x, quantised, False, True), bias)

    def normal(x: Any, name: str) -> Any:
        scaled = op.mvn(x, constant([-1], np.int64), True, EPSILON, "inside_sqrt")
        scaled = op.multiply(scaled, constant(weights[f"{name}.weight"][None, None]))
        return op.add(scaled, constant(weights[f"{name}.bias"][None, None]))

    def heads(x: Any) -> Any:
        split = op.reshape(x, constant([0, 0, HEADS, WIDTH // HEADS], np.int32), True)
        return op.transpose(split, constant([0, 2, 1, 3], np.int32))

    ids, mask = op.parameter([-1, -1], np.int32, name="ids"), op.parameter([-1, -1], np.float32, name="mask")
    zero, one, last = constant([0], np.int32), constant([1], np.int32), constant([-1], np.int32)
    words = op.gather(constant(weights["embeddings.word_embeddings.weight"]), ids, constant(0, np.int32))
    length = op.gather(op.shape_of(ids, "i32"), one, constant(0, np.int32))
    # Every text is the first segment, so the segment's vector goes into the positions.
    places_of_tokens = weights["embeddings.position_embeddings.weight"]
    positions = constant(places_of_tokens + weights["embeddings.token_type_embeddings.weight"][0])
    positions = op.unsqueeze(op.slice(positions, zero, length, one, zero), zero)
    x = normal(op.add(words, positions), "embeddings.LayerNorm")
    hidden = op.multiply(op.subtract(mask, constant(1.0)), constant(1e9))
    hidden = op.unsqueeze(hidden, constant([1, 2], np.int32))
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        q, k, v = (heads(linear(x, f"{layer}.in", f"{name}.attention.self.{n}")) for n in ("query", "key", "value"))
        mixed = op.transpose(op.scaled_dot_product_attention(q, k, v, hidden), constant([0, 2, 1, 3], np.int32))
        mixed = op.reshape(mixed, constant([0, 0, WIDTH], np.int32), True)
        mixed = linear(mixed, f"{layer}.att", f"{name}.attention.output.dense")
        x = normal(op.add(mixed, x), f"{name}.attention.output.LayerNorm")
        inner = op.gelu(linear(x, f"{layer}.mid", f"{name}.intermediate.dense"), "erf")
        x = normal(op.add(linear(inner, f"{layer}.ffn", f"{name}.output.dense"), x), f"{name}.output.LayerNorm")
    total = op.reduce_sum(op.multiply(x, op.unsqueeze(mask, last)), one, False)
    count = op.maximum(op.reduce_sum(mask, one, True), constant(1.0))
    results = [op.result(op.divide(total, count)), *(op.result(item) for item in tapped if tap)]
    return ov.Model(results, [ids, mask], "minilm"), places


def best_precision(here: Machine) -> str:
    """The precision in which a processor computes this model fastest without losing by it."""
    if here.bfloat16_matrices:
        return "bf16"
    return "int8" if here.exact_int8 else "f32"


def open_minilm(spec: Spec, settings: Settings) -> MinilmEmbedder:
    """``minilm``, with ``precision`` int8, bf16 or f32; its name says which. Raises FetchError when the weights are not
    there."""
    if spec.argument:
        raise InputError(f"got {spec.name!r}: minilm takes no argument", remedy="write minilm")
    wanted = spec.choose("precision", spec.read({"precision": "auto"})["precision"], ("auto", "int8", "bf16", "f32"))
    precision = best_precision(machine()) if wanted == "auto" else wanted
    name = replace(spec, options={"precision": precision}).name
    threads = int(settings["threads"])
    return MinilmEmbedder(name, hub.locate("minilm", settings.cache), precision=precision, threads=threads)
