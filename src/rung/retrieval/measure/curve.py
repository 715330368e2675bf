"""Recall against speed: what each index backend gives at each setting of its search, as a table and a picture."""

from __future__ import annotations

import html
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rung.core.errors import InputError, MissingExtra
from rung.core.parts import registry
from rung.retrieval.index.spec import open_index, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class IndexPoint:
    """One backend at one setting. ``recall`` is recall@k; ``single`` and ``batch`` are queries a second, asked one
    by one and all at once; ``p99`` is milliseconds of one query; ``build`` seconds until it was flushed; ``bytes``
    on disk (0: a server)."""

    backend: str
    setting: str
    recall: float
    single: float
    batch: float
    p99: float
    build: float
    bytes: int


def installed() -> list[str]:
    """What is measured when nothing is named: the local backends. One whose package is missing is left out by
    ``measure``."""
    return [spec for kind in registry.table("index") for spec in getattr(registry.load("index", kind), "measured", ())]


def make_clusters(rows: int, dimensions: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around centres of unequal weight, with noise of falling strength along the axes: about as hard
    for an index as sentence vectors are (uniform noise is far harder, tight balls far easier)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    count = max(8, int(rows**0.5))
    shape = np.random.default_rng(seed + 1)
    scale = (1 + np.arange(dimensions)) ** -0.4
    centres = shape.standard_normal((count, dimensions)) * scale
    weight = shape.pareto(1.5, count) + 0.1
    chosen = rng.choice(count, rows, p=weight / weight.sum())
    out = (centres[chosen] + 0.8 * rng.standard_normal((rows, dimensions)) * scale).astype(np.float32)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    return out


def read_vectors(path: Path) -> NDArray[np.float32]:
    """Vectors of a ``.npy`` (2-d array) or ``.fvecs`` file (little-endian int32 length, then float32, row after
    row), made unit length; rows of zeros are left out. Raises InputError when the file holds something else."""
    import numpy as np

    try:
        if path.suffix == ".npy":
            data = np.load(path, mmap_mode="r", allow_pickle=False)
        elif path.suffix == ".fvecs":
            raw = np.fromfile(path, "<i4")
            width = int(raw[0]) + 1 if len(raw) else 0
            if width < 2 or len(raw) % width or (raw[::width] != width - 1).any():
                raise ValueError("rows of unequal length")
            data = raw.reshape(-1, width)[:, 1:].view("<f4")
        else:
            raise ValueError("its name ends in neither .npy nor .fvecs")
        if data.ndim != 2 or data.dtype.kind not in "fiu" or len(data) < 2:
            raise ValueError(f"an array of {data.dtype} and shape {data.shape}")
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot read vectors: {error}", file=path, remedy="give a 2-d float array as .npy, or an .fvecs file"
        ) from None
    out = np.asarray(data, np.float32)
    norms = np.linalg.norm(out, axis=1, keepdims=True)
    kept = np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)
    return np.ascontiguousarray(out[kept] / norms[kept])


def find_truth(rows: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """The inner product of each query's k-th nearest row: whatever scores at least that is a true neighbour."""
    import numpy as np

    best = np.full((len(queries), k), -np.inf, np.float32)
    step = max(1, (1 << 26) // max(1, len(queries)))
    for start in range(0, len(rows), step):
        scores = np.concatenate([best, queries @ rows[start : start + step].T], axis=1)
        best = np.partition(scores, scores.shape[1] - k, axis=1)[:, -k:]
    least: NDArray[np.float32] = best.min(axis=1)
    return least


def measure(
    backends: Sequence[str],
    rows: NDArray[np.float32],
    queries: NDArray[np.float32],
    *,
    k: int = 10,
    seconds: float = 1.0,
    skip_missing: bool = False,
) -> Iterator[IndexPoint]:
    """Build each backend over ``rows`` and search it at each of its settings; points come as they are measured.

    ``backends`` are string forms of indexes; a setting that one names itself is the only one measured. ``seconds`` is
    how long each speed is measured. A server's index must be empty, and is emptied again afterwards. Raises InputError
    for one that is not, MissingExtra for a backend that is not installed (``skip_missing`` leaves it out).
    """
    if len(queries) == 0 or len(rows) < k:
        raise InputError(
            f"got {len(rows)} rows and {len(queries)} queries", remedy=f"give at least {k} rows and a query"
        )
    truth = find_truth(rows, queries, k)
    for backend in backends:
        try:
            yield from _measure(backend, rows, queries, truth, k, seconds)
        except MissingExtra:
            if not skip_missing:
                raise


def _measure(
    backend: str,
    rows: NDArray[np.float32],
    queries: NDArray[np.float32],
    truth: NDArray[np.float32],
    k: int,
    seconds: float,
) -> Iterator[IndexPoint]:
    folder = Path(tempfile.mkdtemp(prefix="rung-bench-"))
    ids = [str(row) for row in range(len(rows))]
    dimensions = rows.shape[1]
    try:
        started = time.perf_counter()
        index = open_index(backend, folder, dimensions)
        if len(index):
            raise InputError(
                f"the index {index.name} holds {len(index)} rows, which the bench would delete",
                remedy="name one that is not there yet",
            )
        try:
            for start in range(0, len(ids), 20_000):
                index.add(ids[start : start + 20_000], rows[start : start + 20_000])
            index.flush()
            build = time.perf_counter() - started
            size = size_of(folder)
            for setting, spec in _settings(backend):
                index.close()
                index = open_index(spec, folder, dimensions)
                found = index.search(queries, k)
                # Quantised scores are compared as the true products of the rows that were found.
                hits = sum(
                    float(queries[line] @ rows[int(name)]) >= truth[line] - 1e-6
                    for line, names in enumerate(found)
                    for name, _ in names
                )
                times = _time(lambda query: index.search(query, k), queries, seconds)  # noqa: B023
                batch = _rate(lambda: index.search(queries, k), len(queries), seconds)  # noqa: B023
                p99 = sorted(times)[int(0.99 * (len(times) - 1))]
                yield IndexPoint(
                    backend,
                    setting,
                    hits / (k * len(queries)),
                    1 / statistics.fmean(times),
                    batch,
                    1000 * p99,
                    build,
                    size,
                )
        finally:
            if not size_of(folder):
                for start in range(0, len(ids), 10_000):
                    index.delete(ids[start : start + 10_000])
            index.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder; 0 for an index that a server keeps."""
    return sum(path.stat().st_size for path in folder.iterdir()) if folder.is_dir() else 0


def _settings(backend: str) -> list[tuple[str, str]]:
    """What is asked of a backend: a label and a string form for each setting."""
    spec = parse(backend)
    sweep = getattr(registry.load("index", spec.kind), "sweep", {})
    option, values = sweep.get(backend.partition("?")[0] if spec.kind == "faiss" else spec.kind, ("", ()))
    if not option or option in dict(spec.options) or dict(spec.options).get("index") == "exact":
        return [("", backend)]
    sign = "&" if spec.options else "?"
    return [(f"{option}={value}", f"{backend}{sign}{option}={value}") for value in values]


def _time(ask: Callable[[NDArray[np.float32]], object], queries: NDArray[np.float32], seconds: float) -> list[float]:
    """Seconds of single queries, one after the other, until the time is over (at least ten)."""
    out: list[float] = []
    end = time.perf_counter() + seconds
    while len(out) < 10 or time.perf_counter() < end:
        query = queries[len(out) % len(queries)][None]
        started = time.perf_counter()
        ask(query)
        out.append(time.perf_counter() - started)
    return out


def _rate(ask: Callable[[], object], count: int, seconds: float) -> float:
    """Queries a second of whole batches: the best of those that fit in the time."""
    best, end = math.inf, time.perf_counter() + seconds
    while best == math.inf or time.perf_counter() < end:
        started = time.perf_counter()
        ask()
        best = min(best, time.perf_counter() - started)
    return count / best


# ---------------------------------------------------------------- the table and the picture


def table(points: Sequence[IndexPoint], k: int) -> list[tuple[str, ...]]:
    """Lines of texts, the head first."""
    head = ("backend", "setting", f"recall@{k}", "queries/s", "p99 ms", "batch queries/s", "build s", "MB")
    return [
        head,
        *(
            (
                point.backend,
                point.setting,
                f"{point.recall:.3f}",
                f"{point.single:,.0f}",
                f"{point.p99:.2f}",
                f"{point.batch:,.0f}",
                f"{point.build:.1f}",
                f"{point.bytes / 1e6:.1f}" if point.bytes else "-",
            )
            for point in points
        ),
    ]


_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#5b3a9b",
    "#222222",
    "#8c6d31",
    "#777777",
)
"""Okabe and Ito's palette first: told apart also by the colour-blind."""


def draw(points: Sequence[IndexPoint], k: int, title: str) -> str:
    """An SVG: recall@k to the right, queries a second (logarithmic) upwards, one line a backend. Right and up is
    better."""
    width, height, left, right, top, bottom = 860, 480, 70, 210, 40, 50
    rates = [point.single for point in points]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    high += high == low
    least = min(0.9, math.floor(min(point.recall for point in points) * 20) / 20)

    def x(recall: float) -> float:
        return left + (width - left - right) * (recall - least) / (1 - least)

    def y(rate: float) -> float:
        return height - bottom - (height - top - bottom) * (math.log10(rate) - low) / (high - low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="22" font-size="15">{html.escape(title)}</text>',
    ]
    for power in range(low, high + 1):
        at = y(10.0**power)
        out.append(f'<line x1="{left}" x2="{width - right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:,g}</text>')
    steps = 5
    for step in range(steps + 1):
        recall = least + (1 - least) * step / steps
        out.append(
            f'<line x1="{x(recall):.1f}" x2="{x(recall):.1f}" y1="{top}" y2="{height - bottom}" stroke="#eee"/>'
            f'<text x="{x(recall):.1f}" y="{height - bottom + 18}" text-anchor="middle">{recall:.2f}</text>'
        )
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 10}" text-anchor="middle">recall@{k}</text>')
    out.append(
        f'<text transform="translate(16 {height / 2}) rotate(-90)" text-anchor="middle">queries a second, one by one</text>'
    )
    for at, backend in enumerate(dict.fromkeys(point.backend for point in points)):
        colour = _COLOURS[at % len(_COLOURS)]
        line = sorted((point for point in points if point.backend == backend), key=lambda point: point.recall)
        path = " ".join(f"{x(point.recall):.1f},{y(point.single):.1f}" for point in line)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for point in line:
            label = f"{backend} {point.setting}: recall {point.recall:.3f}, {point.single:,.0f} queries/s"
            out.append(
                f'<circle cx="{x(point.recall):.1f}" cy="{y(point.single):.1f}" r="4" fill="{colour}">'
                f"<title>{html.escape(label)}</title></circle>"
            )
        legend = top + 12 + 20 * at
        out.append(f'<circle cx="{width - right + 22}" cy="{legend - 4}" r="4" fill="{colour}"/>')
        out.append(f'<text x="{width - right + 32}" y="{legend}">{html.escape(backend[:28])}</text>')
    return "\n".join([*out, "</svg>", ""])
