"""An index in a folder of files: ids, metadata, tombstones, durability and filters here; the vectors in an engine.

On disk: ``index.json`` names the current generation; its files are a snapshot, and a log of the changes since. ``index.json``
is replaced in one step, so that a crash leaves the old snapshot or the new one. One process writes at a time; any number
read what was there when they opened.
"""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rung.core.errors import InputError, StoreError
from rung.core.files import write_file
from rung.core.lock import file_lock
from rung.core.protocols import Filter
from rung.retrieval.filter import Columns
from rung.retrieval.index.check import check_new, check_queries, check_rows
from rung.retrieval.index.gate import Gate
from rung.retrieval.index.log import Change, Log, read
from rung.retrieval.index.matrix import Matrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FORMAT = 1
_LARGE = 4 << 20  # bytes of vectors in one call above which the next flush writes a snapshot instead of a log
_FEW = 2000  # passing rows that are looked through one by one rather than through a graph


class Engine(Protocol):
    """Vectors by row number, 0 upwards; rows are only ever appended. The index above knows ids, filters and deletions.

        ``masks``: ``search`` takes the rows allowed. ``forgets``: it never finds discarded rows. ``exact``: it finds the true
    neighbours. ``spare``: the share of deleted rows that is carried along before a flush rebuilds.
    """

    masks: bool
    forgets: bool
    exact: bool
    spare: float

    def __len__(self) -> int: ...
    def append(self, vectors: NDArray[np.float32]) -> None: ...
    def discard(self, rows: Sequence[int]) -> None:
        """These rows were deleted; an engine that cannot forget them does nothing: their hits are left out above."""
        ...

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows and inner products, best first, shape (queries, >= k); short lists end in row -1."""
        ...

    def search_one(self, query: NDArray[np.float32], k: int) -> tuple[list[int], list[float]]:
        """``search`` for one query of shape (1, dimensions) without a mask, as lists: what is asked most often, in the
        fewest steps."""
        ...

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of rows, as precisely as they are kept."""
        ...

    def settle(self) -> None:
        """Before a snapshot: train, or build anew what cannot grow."""
        ...

    def save(self, stem: Path) -> list[Path]:
        """Write files whose names begin with ``stem``; which."""
        ...

    def load(self, stem: Path) -> None:
        """Read what ``save`` wrote. Raises ValueError or OSError when it does not fit."""
        ...


class LocalIndex:
    """An Index over an engine. ``make`` makes an empty engine, ``layout`` names what its files depend on."""

    _engine: Engine
    _columns: Columns
    _ids: list[str]
    _known: dict[str, int] | None
    _dead: NDArray[np.bool_]
    _dead_rows: int
    _masked: bool
    """There are deleted rows that the engine would find."""
    _unlogged: bool
    """A change is in memory only; until the next snapshot none goes to the log, so that the log has no gap."""
    _generation: int
    _snapshot_size: int
    _log_size: int
    _seen: tuple[int, int]

    def __init__(self, name: str, layout: str, make: Callable[[], Engine], folder: Path, dimensions: int) -> None:
        self._name = name
        self._layout = layout
        self._make = make
        self._folder = folder
        self._dimensions = dimensions
        self._gate = Gate()
        self._writer = ExitStack()
        self._writing = False
        self._log: Log | None = None
        self._closed = False
        self._load()

    # ------------------------------------------------------------ what it is

    @property
    def name(self) -> str:
        return self._name

    @property
    def dimensions(self) -> int:
        return self._dimensions

    def __len__(self) -> int:
        return len(self._ids) - self._dead_rows

    @property
    def engine(self) -> Engine:
        return self._engine

    def ids(self) -> list[str]:
        """The ids that are there, in the order they came."""
        return [name for row, name in enumerate(self._ids) if not self._dead[row]]

    # ------------------------------------------------------------ reading

    def search(
        self, vectors: NDArray[np.float32], k: int, where: Filter | None = None
    ) -> list[list[tuple[str, float]]]:
        queries = check_queries(vectors, self._dimensions, k)
        gate = self._gate
        gate.enter()
        try:
            if where is None and not self._masked:
                count = len(self._ids) - self._dead_rows
                if not count:
                    return [[] for _ in queries]
                want = k if k < count else count
                if len(queries) == 1:
                    names, values = self._engine.search_one(queries, want)
                    if len(names) >= want and names[want - 1] >= 0:
                        hits = list(zip(map(self._ids.__getitem__, names), values, strict=False))
                        if len(set(values)) < len(hits):
                            hits.sort(key=_rank)
                        return [hits if len(hits) == want else hits[:want]]
                rows, scores = self._engine.search(queries, want, None)
                if rows.shape[1] < want or rows[:, want - 1].min() < 0:  # a graph's far corners that no link reaches
                    rows, scores = self._fill(queries, want, rows, scores, self._allowed(None))
            else:
                allowed = self._allowed(where)
                if allowed is None:
                    return [[] for _ in queries]
                rows, scores = self._search(queries, k, allowed)
            return name_hits(self._ids, rows, scores, k)
        finally:
            gate.leave()

    def vectors(self, ids: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of ids, as precisely as the engine keeps them. Raises InputError for an id that is not there."""
        import numpy as np

        self._gate.enter()
        try:
            known = self._rows()
            missing = next((name for name in ids if name not in known), None)
            if missing is not None:
                raise InputError(f"there is no vector with the id {missing!r}")
            return self._engine.vectors(np.array([known[name] for name in ids], np.int64))
        finally:
            self._gate.leave()

    def _allowed(self, where: Filter | None) -> NDArray[np.bool_] | None:
        """Which rows may be found; None: none may."""
        import numpy as np

        allowed = self._columns.mask(where)
        if self._dead_rows:
            np.logical_and(allowed, ~self._dead[: len(allowed)], out=allowed)
        return allowed if allowed.any() else None

    def _search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        import numpy as np

        passing = int(np.count_nonzero(allowed))
        engine, count = self._engine, len(allowed)
        if engine.exact and engine.masks:
            return engine.search(queries, k, allowed)
        if k >= passing or passing <= max(_FEW, count // 50):
            return self._look_through(queries, k, np.flatnonzero(allowed))
        if engine.masks:
            rows, scores = engine.search(queries, k, allowed)
        else:
            rows, scores = self._sift(queries, k, allowed, passing)
        return self._fill(queries, k, rows, scores, allowed)

    def _fill(
        self,
        queries: NDArray[np.float32],
        k: int,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        allowed: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """A graph can run dry: a query that got fewer than k, of which there are enough, is given the truth."""
        import numpy as np

        poor = np.flatnonzero((rows[:, :k] >= 0).sum(axis=1) < k)
        if not len(poor) or allowed is None:
            return rows, scores
        full_rows = np.full((len(queries), k), -1, np.int64)
        full_scores = np.full((len(queries), k), -np.inf, np.float32)
        full_rows[:, : rows.shape[1]], full_scores[:, : rows.shape[1]] = rows[:, :k], scores[:, :k]
        found = self._look_through(queries[poor], k, np.flatnonzero(allowed))
        full_rows[poor], full_scores[poor] = found[0][:, :k], found[1][:, :k]
        return full_rows, full_scores

    def _sift(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_], passing: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ask for more than k and keep those that pass."""
        import numpy as np

        count = len(allowed)
        asked = min(count, int(k * count / passing * 1.5) + 10)
        out_rows = np.full((len(queries), k), -1, np.int64)
        out_scores = np.full((len(queries), k), -np.inf, np.float32)
        left = np.arange(len(queries))
        while len(left) and asked <= max(10_000, count // 20):
            rows, scores = self._engine.search(queries[left], min(asked, count), None)
            passes = allowed[rows] & (rows >= 0)
            enough = passes.sum(axis=1) >= k
            order = np.argsort(~passes, axis=1, kind="stable")[:, :k]
            done = left[enough]
            out_rows[done] = np.take_along_axis(rows, order, 1)[enough]
            out_scores[done] = np.take_along_axis(scores, order, 1)[enough]
            left = left[~enough]
            asked *= 4
        return out_rows, out_scores

    def _look_through(
        self, queries: NDArray[np.float32], k: int, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Exact search among a few rows, a lot of them at a time."""
        from rung.retrieval.index.matrix import merge, top

        lot = max(1, (1 << 22) // self._dimensions)
        best: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
        for start in range(0, len(rows), lot):
            names = rows[start : start + lot]
            found = top(queries @ self._engine.vectors(names).T, k, names)
            best = found if best is None else merge(best, found, k)
        assert best is not None
        return best

    # ------------------------------------------------------------ writing

    def add(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        rows = check_rows(ids, vectors, metadata, self._dimensions)
        with self._gate.write():
            self._begin()
            check_new(ids, self._rows())
            self._change(Change("add", ids, rows, metadata))

    def upsert(
        self, ids: Sequence[str], vectors: NDArray[np.float32], metadata: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        rows = check_rows(ids, vectors, metadata, self._dimensions)
        with self._gate.write():
            self._begin()
            self._change(Change("upsert", ids, rows, metadata))

    def delete(self, ids: Sequence[str]) -> int:
        with self._gate.write():
            self._begin()
            known = self._rows()
            there = [name for name in dict.fromkeys(ids) if name in known]
            if there:
                self._change(Change("delete", there))
            return len(there)

    def flush(self) -> None:
        """Make what was changed last. A log that outgrew its snapshot, a large load or many deletions write a snapshot."""
        with self._gate.write():
            if self._closed or not self._writing:
                return
            if self._dead_rows > max(1000, int(self._engine.spare * len(self._ids))):
                self._compact()
            if self._unlogged or self._log is None or self._log.size > max(2 * _LARGE, self._snapshot_size // 2):
                self._snapshot()
            else:
                try:
                    self._log.sync()
                except OSError as error:
                    raise self._cannot("flush", error) from None

    def compact(self) -> None:
        """Build the engine anew from the rows that are there, and write a snapshot. Takes as long as a build."""
        with self._gate.write():
            self._begin()
            if self._dead_rows:
                self._compact()
            self._snapshot()

    def close(self) -> None:
        with self._gate.write():
            if self._closed:
                return
            try:
                self.flush()
            finally:
                self._closed = True
                if self._log is not None:
                    self._log.close()
                    self._log = None
                self._writer.close()

    def _begin(self) -> None:
        """Become the writer, and see what another wrote before."""
        if self._closed:
            raise StoreError(f"the index at {self._folder} is closed", remedy="open it again")
        if self._writing:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._writer.enter_context(file_lock(self._folder / "lock", self._wait))
            if self._state() != self._seen:
                self._load()
            if self._head() is None:
                self._write_head(0, {})
            self._log = Log(self._log_path(self._generation), self._log_size)
        except OSError as error:
            self._writer.close()
            raise self._cannot("write", error) from None
        self._writing = True

    def _wait(self, waited: float) -> None:
        if waited > 1.0:
            raise StoreError(
                f"another process is writing to the index at {self._folder}",
                remedy="wait until it has finished, or stop it; reading goes on meanwhile",
            )
        time.sleep(0.05)

    def _change(self, change: Change) -> None:
        # Metadata first: they are the last thing that can be refused.
        columns = Columns()
        columns.extend(change.metadata, len(change.ids))
        assert self._log is not None
        if not self._unlogged:
            if change.vectors is not None and change.vectors.nbytes > _LARGE:
                self._unlogged = True
            else:
                try:
                    self._log.append(change)
                except OSError as error:
                    raise self._cannot("write", error) from None
        self._apply(change)

    def _apply(self, change: Change) -> None:
        known = self._rows()
        if change.operation != "add":
            gone = [known.pop(name) for name in change.ids if name in known]
            if gone:
                self._dead[gone] = True
                self._dead_rows += len(gone)
                self._engine.discard(gone)
                self._masked = not self._engine.forgets
        if change.vectors is not None:
            start = len(self._ids)
            self._engine.append(change.vectors)
            self._columns.extend(change.metadata, len(change.ids))
            self._grow(start + len(change.ids))
            known.update(zip(change.ids, range(start, start + len(change.ids)), strict=True))
            self._ids.extend(change.ids)

    def _grow(self, rows: int) -> None:
        import numpy as np

        if rows > len(self._dead):
            dead = np.zeros(max(rows, 2 * len(self._dead), 64), np.bool_)
            dead[: len(self._dead)] = self._dead
            self._dead = dead

    def _rows(self) -> dict[str, int]:
        """Id to row; made when first asked for, as readers never do."""
        if self._known is None:
            self._known = {name: row for row, name in enumerate(self._ids) if not self._dead[row]}
        return self._known

    def _compact(self) -> None:
        import numpy as np

        live = np.flatnonzero(~self._dead[: len(self._ids)])
        engine = self._make()
        lot = max(1, (64 << 20) // (4 * self._dimensions))
        for start in range(0, len(live), lot):
            engine.append(self._engine.vectors(live[start : start + lot]))
        self._engine = engine
        self._columns = self._columns.take(live)
        self._ids = [self._ids[row] for row in live.tolist()]
        self._known = None
        self._dead = np.zeros(len(self._ids), np.bool_)
        self._dead_rows, self._masked, self._unlogged = 0, False, True

    # ------------------------------------------------------------ files

    def _log_path(self, generation: int) -> Path:
        return self._folder / f"{generation}.log"

    def _state(self) -> tuple[int, int]:
        """The generation on disk and the size of its log: what tells whether another process wrote."""
        head = self._head()
        generation = 0 if head is None else int(head["generation"])
        path = self._log_path(generation)
        return generation, path.stat().st_size if path.exists() else 0

    def _head(self) -> dict[str, Any] | None:
        path = self._folder / "index.json"
        try:
            head = json.loads(path.read_text())
            assert isinstance(head, dict)
            int(head["generation"])
        except FileNotFoundError:
            return None
        except (ValueError, AssertionError, KeyError, TypeError):
            raise StoreError(
                f"{path} is damaged", remedy="restore it from a backup, or delete the folder and build the index again"
            ) from None
        return head

    def _load(self) -> None:
        for attempt in range(5):
            try:
                self._load_once()
            except FileNotFoundError as error:
                # A writer replaced the generation between our reading its name and its files.
                if attempt == 4:
                    raise self._damaged(error) from None
                time.sleep(0.02)
            else:
                return

    def _load_once(self) -> None:
        import numpy as np

        head = self._head()
        self._known = None
        self._unlogged = False
        self._masked = False
        self._snapshot_size = 0
        self._engine = self._make()
        self._seen = self._state()
        if head is not None:
            self._check_head(head)
        if head is None or not head["generation"]:
            self._generation = 0
            self._ids = []
            self._columns = Columns()
            self._dead = np.zeros(0, np.bool_)
        else:
            self._generation = int(head["generation"])
            stem = self._folder / str(self._generation)
            try:
                self._check_sizes(head)
                self._ids = json.loads(stem.with_suffix(".ids.json").read_bytes())
                fields = json.loads(stem.with_suffix(".fields.json").read_bytes())
                with np.load(stem.with_suffix(".rows.npz"), allow_pickle=False) as rows:
                    self._dead = rows["dead"]
                    columns = [(name, cells, rows[f"codes{at}"]) for at, (name, cells) in enumerate(fields)]
                self._columns = Columns.restore(len(self._ids), columns)
                self._engine.load(stem)
                if len(self._engine) != len(self._ids) or len(self._dead) != len(self._ids):
                    raise ValueError(f"{len(self._engine)} vectors for {len(self._ids)} ids")
            except FileNotFoundError:
                raise
            except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
                raise self._damaged(error) from None
            self._snapshot_size = sum(head["files"].values())
        self._dead_rows = int(np.count_nonzero(self._dead))
        self._masked = bool(self._dead_rows) and not self._engine.forgets
        self._log_size = 0
        for change, end in read(self._log_path(self._generation), self._dimensions):
            if change.operation == "add":
                check_new(change.ids, self._rows())
            self._apply(change)
            self._log_size = end

    def _check_head(self, head: Mapping[str, Any]) -> None:
        if head.get("format") != _FORMAT:
            raise StoreError(
                f"the index at {self._folder} has format {head.get('format')!r}, this rung reads {_FORMAT}",
                remedy="open it with the rung that wrote it, or build it again into an empty folder",
            )
        if head.get("dimensions") != self._dimensions:
            raise InputError(
                f"the index at {self._folder} has vectors of {head.get('dimensions')} dimensions, got {self._dimensions}",
                remedy="use the embedder that it was built with, or build it again into an empty folder",
            )
        if head.get("layout") != self._layout:
            raise InputError(
                f"the index at {self._folder} was built as {head.get('layout')!r}, opened as {self._layout!r}",
                remedy=f"open it as {head.get('name')!r}, or build it again into an empty folder",
            )

    def _check_sizes(self, head: Mapping[str, Any]) -> None:
        """Files that were cut short are refused here, before a library maps them and reads past their end."""
        for name, size in head["files"].items():
            there = (self._folder / name).stat().st_size
            if there != size:
                raise ValueError(f"{name} has {there} bytes, {size} were written")

    def _snapshot(self) -> None:
        import numpy as np

        self._engine.settle()
        generation = self._generation + 1
        stem = self._folder / str(generation)
        written: list[Path] = []
        try:
            fields = []
            arrays: dict[str, Any] = {"dead": self._dead[: len(self._ids)]}
            for at, (name, cells, codes) in enumerate(self._columns.dump()):
                fields.append((name, cells))
                arrays[f"codes{at}"] = codes
            written = [stem.with_suffix(".ids.json"), stem.with_suffix(".fields.json"), stem.with_suffix(".rows.npz")]
            written[0].write_text(json.dumps(self._ids))
            written[1].write_text(json.dumps(fields))
            with written[2].open("wb") as stream:
                np.savez(stream, **arrays)
            written += self._engine.save(stem)
            for path in written:
                with path.open("r+b") as stream:
                    os.fsync(stream.fileno())
            log = Log(self._log_path(generation), 0)
            sizes = {path.name: path.stat().st_size for path in written}
            self._write_head(generation, sizes)
        except OSError as error:
            for path in [*written, self._log_path(generation)]:
                path.unlink(missing_ok=True)
            raise self._cannot("flush", error) from None
        if self._log is not None:
            self._log.close()
        self._log, self._generation, self._unlogged = log, generation, False
        self._snapshot_size = sum(sizes.values())
        self._sweep(generation)

    def _write_head(self, generation: int, files: Mapping[str, int]) -> None:
        """From here on the generation is the current one. Generation 0 has a log only."""
        head = {
            "format": _FORMAT,
            "name": self._name,
            "layout": self._layout,
            "dimensions": self._dimensions,
            "generation": generation,
            "files": files,
        }
        write_file(self._folder / "index.json", json.dumps(head).encode())

    def _sweep(self, generation: int) -> None:
        """Remove files of other generations; one that a reader holds on Windows goes the next time."""
        for path in self._folder.iterdir():
            first = path.name.partition(".")[0]
            if first.isdigit() and int(first) != generation:
                try:
                    path.unlink()
                except OSError:
                    continue

    def _cannot(self, what: str, error: OSError) -> StoreError:
        return StoreError(
            f"cannot {what} the index at {self._folder}: {error.strerror or error}",
            remedy="make room or check the folder's permissions, then do it again; what was flushed before is whole",
        )

    def _damaged(self, error: Exception) -> StoreError:
        return StoreError(
            f"the index at {self._folder} is damaged: {error}",
            remedy="restore it from a backup, or delete the folder and build the index again",
        )


def name_hits(
    ids: Sequence[str], rows: NDArray[np.int64], scores: NDArray[np.float32], k: int
) -> list[list[tuple[str, float]]]:
    """Rows and scores as hits: best first, ties by id, k at most, row -1 left out."""
    import numpy as np

    name = ids.__getitem__
    out = [
        list(zip(map(name, names), values, strict=False))
        for names, values in zip(rows.tolist(), scores.tolist(), strict=True)
    ]
    # Few lines need a second look: those with ties, with holes, or with more than were asked for.
    rough = (rows < 0).any(axis=1) | (scores[:, 1:] >= scores[:, :-1]).any(axis=1)
    for line in range(len(out)) if rows.shape[1] > k else np.flatnonzero(rough).tolist():
        hits = [hit for hit, row in zip(out[line], rows[line].tolist(), strict=True) if row >= 0]
        hits.sort(key=_rank)
        out[line] = hits[:k]
    return out


def _rank(hit: tuple[str, float]) -> tuple[float, str]:
    return -hit[1], hit[0]


def raw_matrix(dimensions: int) -> Matrix:
    """Where an engine that cannot give vectors back keeps them: float16, mapped from its file."""
    return Matrix(dimensions, "f16")
