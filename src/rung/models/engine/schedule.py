"""Continuous batching with prefix-first scheduling, independent of the engine that computes.

A *job* is a prompt and what to do with the logits that follow it (decode, search a label trie, beams). The scheduler keeps
the key/value cache in blocks and a tree of the prompts' blocks. A job whose next tokens are being computed by another job
waits one round and then shares them, so a prefix that many prompts have in common is computed once, by the first of them,
and fanned out to the rest; the tokens shared inside the last block are copied, not computed.

What is computed for a job never depends on which other jobs run beside it: prompts are cut only where at least two tokens
remain (attention over one query token runs another kernel), and blocks that decoding wrote are never shared.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARE = 8
"""Fewer common tokens than this inside a block are computed again rather than waited for and copied."""

TAIL = 2
"""A prompt's last piece has at least this many tokens (unless the prompt is shorter)."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens to compute at positions ``past``... of a sequence whose cache lies in ``blocks``; ``wanted``: the logits after
    the last of them are needed. ``adapter`` is the number of the adapter that computes them (0: none)."""

    tokens: Sequence[int]
    past: int
    blocks: Sequence[int]
    wanted: bool = True
    adapter: int = 0


class Device(Protocol):
    """What computes. ``forward`` returns float32 logits of shape (number of wanted spans, vocabulary), valid until the next
    call; ``copy`` duplicates a cache block."""

    @property
    def block(self) -> int:
        """Tokens a cache block holds."""
        ...

    @property
    def blocks(self) -> int:
        """Cache blocks there are."""
        ...

    def forward(self, spans: Sequence[Span]) -> NDArray[np.float32]: ...
    def copy(self, source: int, target: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Feed:
    """What a job wants computed next: take branch ``parent``, keep ``keep`` tokens after the prompt, append ``tokens``."""

    tokens: tuple[int, ...]
    keep: int
    parent: int = 0


@dataclass
class Cost:
    """What a job has used so far: tokens computed and reused, and its share of wall and CPU seconds."""

    cached: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Job(Protocol):
    """``room``: tokens it may append to the prompt on each of ``width`` branches. ``advance`` gets the logits of its last
    feeds (first: after the prompt) as rows, and returns the next feeds; none: the job is finished. Prompts of different
    ``adapter`` share nothing."""

    prompt: tuple[int, ...]
    adapter: int
    room: int
    width: int
    cost: Cost

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]: ...
    def finish(self, error: BaseException | None) -> None:
        """Called once, when the job is done, failed or was cancelled."""
        ...


class _Node:
    """A cached block of prompt tokens in the tree; ``ready`` once it is computed."""

    __slots__ = ("block", "children", "parent", "ready", "refs", "tokens", "used")

    def __init__(self, tokens: tuple[int, ...], block: int, parent: _Node | None) -> None:
        self.tokens = tokens
        self.block = block
        self.parent = parent
        self.children: dict[tuple[int, ...], _Node] = {}
        self.refs = 0
        self.ready = False
        self.used = 0


@dataclass(frozen=True)
class _Match:
    """``nodes`` shared whole, ``extra`` more tokens to copy from ``source``; ``wait``: something better is being computed."""

    nodes: list[_Node]
    source: _Node | None = None
    extra: int = 0
    wait: bool = False


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


class Prefixes:
    """The blocks of the cache: free ones, ones in use, and the tree of prompt blocks that may be shared."""

    def __init__(self, block: int, blocks: int) -> None:
        self.block = block
        self._free = list(range(blocks - 1, -1, -1))
        self._roots: dict[int, _Node] = {}
        self._nodes: set[_Node] = set()
        self._clock = 0

    @property
    def free(self) -> int:
        """Blocks that are free or can be made so."""
        return len(self._free) + sum(1 for node in self._nodes if node.refs == 0)

    def _root(self, adapter: int) -> _Node:
        return self._roots.setdefault(adapter, _Node((), -1, None))

    def match(self, prompt: tuple[int, ...], adapter: int = 0) -> _Match:
        """The longest reusable prefix of ``prompt``: whole blocks, then part of one more."""
        limit = len(prompt) - TAIL
        nodes: list[_Node] = []
        at, node = 0, self._root(adapter)
        while at + self.block <= limit:
            child = node.children.get(prompt[at : at + self.block])
            if child is None:
                break
            if not child.ready:
                return _Match(nodes, wait=True)
            nodes.append(child)
            node, at = child, at + self.block
        rest = prompt[at : min(at + self.block, limit)]
        best: _Node | None = None
        extra, waiting = 0, 0
        for child in node.children.values() if rest else ():
            if child.tokens[0] != rest[0]:
                continue
            n = _common(child.tokens, rest)
            if not child.ready:
                waiting = max(waiting, n)
            elif n > extra:
                best, extra = child, n
        if waiting >= extra + SHARE:
            return _Match(nodes, wait=True)
        if extra < SHARE:
            best, extra = None, 0
        return _Match(nodes, best, extra)

    def claim(self, prompt: tuple[int, ...], shared: list[_Node], adapter: int = 0) -> list[_Node]:
        """Take the shared nodes and new, not yet ready ones for the rest of the prompt; raises IndexError when full."""
        self._clock += 1
        path = list(shared)
        for node in path:
            node.refs += 1
            node.used = self._clock
        root = self._root(adapter)
        node = path[-1] if path else root
        for at in range(len(path) * self.block, len(prompt), self.block):
            tokens = prompt[at : at + self.block]
            new = _Node(tokens, self.take(), node)
            new.refs, new.used = 1, self._clock
            # A twin exists when the last tokens were left to compute (TAIL): keep it, and ours out of the tree.
            if tokens not in node.children and (node is root or node in self._nodes):
                node.children[tokens] = new
                self._nodes.add(new)
            path.append(new)
            node = new
        return path

    def release(self, path: list[_Node]) -> None:
        """A job is done with its prompt's blocks: computed ones stay in the tree, the others are freed."""
        for node in reversed(path):
            node.refs -= 1
            if node not in self._nodes:
                self._free.append(node.block)
            elif not node.ready:
                self._drop(node)

    def _drop(self, node: _Node) -> None:
        assert node.parent is not None
        del node.parent.children[node.tokens]
        self._nodes.remove(node)
        self._free.append(node.block)

    def forget(self) -> None:
        """Give up every block that no job uses: the next prompt finds nothing of what was computed before."""
        while leaves := [node for node in self._nodes if node.refs == 0 and not node.children]:
            for node in leaves:
                self._drop(node)

    def take(self) -> int:
        """A free block; the least recently used unshared leaves are given up when there is none."""
        if not self._free:
            leaves = sorted((n for n in self._nodes if n.refs == 0 and not n.children), key=lambda n: n.used)
            for node in leaves[: max(1, len(leaves) // 8)]:
                self._drop(node)
        return self._free.pop()

    def give(self, block: int) -> None:
        self._free.append(block)


class _Branch:
    """One line of tokens after a job's prompt: its own blocks (the prompt's full ones come before) and its length."""

    __slots__ = ("blocks", "length")

    def __init__(self, blocks: list[int], length: int) -> None:
        self.blocks = blocks
        self.length = length


@dataclass
class _Run:
    """A job that is in the cache. ``done`` counts prompt tokens computed."""

    job: Job
    path: list[_Node]
    done: int
    reserve: int
    feeds: Sequence[Feed] = ()
    branches: list[_Branch] = field(default_factory=list)
    owners: dict[int, int] = field(default_factory=dict)
    held: int = 0
    over: bool = False


class Scheduler:
    """Decides what is computed next. Not thread-safe: ``Worker`` drives it from one thread.

    ``tokens`` is the most a forward pass takes (longer prompts are cut), ``rows`` the most sequences at once.
    """

    def __init__(self, device: Device, *, tokens: int = 1024, rows: int = 64) -> None:
        self._device = device
        self._tokens = tokens
        self._rows = rows
        self._prefixes = Prefixes(device.block, device.blocks)
        self._waiting: list[Job] = []
        self._running: list[_Run] = []
        self.forwards = 0
        self.computed = 0

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._running)

    def forget(self) -> None:
        """Forget shared prefixes that no job uses now."""
        self._prefixes.forget()

    def add(self, jobs: Iterable[Job]) -> None:
        """Queue jobs: those that arrive together are ordered so that common prefixes are neighbours."""
        batch = []
        for job in jobs:
            if not job.prompt:
                job.finish(ValueError("the prompt has no tokens"))
            elif self._need(job) > self._device.blocks:
                job.finish(MemoryError(f"it needs {self._need(job)} cache blocks, there are {self._device.blocks}"))
            else:
                batch.append(job)
        self._waiting.extend(sorted(batch, key=lambda job: (job.adapter, job.prompt)))

    def cancel(self, job: Job) -> bool:
        """Drop a job and free what it holds at once. False when it is not (any more) here."""
        if job in self._waiting:
            self._waiting.remove(job)
            return True
        for run in self._running:
            if run.job is job:
                self._leave(run)
                return True
        return False

    def drain(self) -> list[Job]:
        """Take every job out (used when the engine is closed or broken)."""
        jobs = [*self._waiting, *(run.job for run in self._running)]
        for job in jobs:
            self.cancel(job)
        return jobs

    def step(self) -> None:
        """Admit what fits, compute one batch, and hand its logits to the jobs."""
        self._admit()
        spans: list[Span] = []
        owners: list[tuple[_Run, int, int]] = []
        budget = self._tokens
        for run in self._running:
            if run.feeds:
                for feed, branch in zip(run.feeds, run.branches, strict=True):
                    spans.append(Span(feed.tokens, branch.length, self._table(run, branch), adapter=run.job.adapter))
                    owners.append((run, len(feed.tokens), 0))
                    budget -= len(feed.tokens)
        for run in self._running:
            if run.feeds or budget < TAIL:
                continue
            prompt = run.job.prompt
            n = min(len(prompt) - run.done, budget)
            left = len(prompt) - run.done - n
            if 0 < left < TAIL:
                n -= TAIL - left
            if n < min(TAIL, len(prompt)):
                continue
            ready = left == 0
            blocks = [node.block for node in run.path[: -(-(run.done + n) // self._device.block)]]
            spans.append(Span(prompt[run.done : run.done + n], run.done, blocks, ready, run.job.adapter))
            owners.append((run, n, n))
            budget -= n
        if not spans:
            raise RuntimeError("the scheduler has jobs but nothing to compute")
        wall, cpu = time.perf_counter(), time.process_time()
        logits = self._device.forward(spans)
        self.forwards += 1
        total = sum(n for _, n, _ in owners)
        self.computed += total
        rows: dict[int, tuple[_Run, list[int]]] = {}
        row = 0
        for span, (run, _, prefilled) in zip(spans, owners, strict=True):
            if prefilled:
                run.done += prefilled
                for node in run.path[: run.done // self._device.block]:
                    node.ready = True
                if run.done == len(run.job.prompt):
                    run.path[-1].ready = True
            if span.wanted:
                rows.setdefault(id(run), (run, []))[1].append(row)
                row += 1
        for run, indices in rows.values():
            self._advance(run, logits[indices[0] : indices[-1] + 1])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        for run, n, _ in owners:
            run.job.cost.seconds += wall * n / total
            run.job.cost.cpu_seconds += cpu * n / total
        for run in [run for run in self._running if run.over]:
            self._leave(run)
            run.job.finish(None)

    # ------------------------------------------------------------ inside

    def _need(self, job: Job) -> int:
        block = self._device.block
        own = -(-(len(job.prompt) + job.room) // block) - len(job.prompt) // block + 1
        return -(-len(job.prompt) // block) + own * job.width

    def _admit(self) -> None:
        if not self._waiting:
            return
        promised = sum(run.reserve - run.held for run in self._running)
        free = self._prefixes.free
        width = sum(run.job.width for run in self._running)
        kept: list[Job] = []
        blocked = False
        for job in self._waiting:
            if blocked or (width and width + job.width > self._rows):
                kept.append(job)
                continue
            match = self._prefixes.match(job.prompt, job.adapter)
            if match.wait:
                kept.append(job)
                continue
            shared = {id(node) for node in match.nodes}
            idle = sum(1 for node in match.nodes if node.refs == 0)
            need = self._need(job) - len(shared)
            if need + idle + promised > free:
                kept.append(job)
                blocked = True  # first come, first served: smaller ones behind must not starve it
                continue
            source = match.source
            if source is not None:
                source.refs += 1  # keep it while blocks are taken
            path = self._prefixes.claim(job.prompt, match.nodes, job.adapter)
            done = len(match.nodes) * self._device.block
            if source is not None:
                self._device.copy(source.block, path[len(match.nodes)].block)
                source.refs -= 1
                done += match.extra
            job.cost.cached = done
            taken = len(path) - len(match.nodes)
            run = _Run(job, path, done, reserve=need - taken)
            self._running.append(run)
            promised += run.reserve
            free = self._prefixes.free
            width += job.width
        self._waiting = kept

    def _table(self, run: _Run, branch: _Branch) -> list[int]:
        return [node.block for node in run.path[: len(run.job.prompt) // self._device.block]] + branch.blocks

    def _advance(self, run: _Run, logits: NDArray[np.float32]) -> None:
        start = len(run.job.prompt)
        if run.branches:
            for feed, branch in zip(run.feeds, run.branches, strict=True):
                branch.length += len(feed.tokens)
        else:
            # The prompt's last, partly filled block is written on by the first branch.
            tail = [run.path[-1].block] if start % self._device.block else []
            run.branches = [_Branch(tail, start)]
            run.owners = dict.fromkeys(tail, 1)
        try:
            run.feeds = run.job.advance(logits)
            if run.feeds:
                self._grow(run)
        except Exception as error:
            self._leave(run)
            run.job.finish(error)
            return
        if not run.feeds:
            run.over = True  # it leaves once its share of the time is booked

    def _grow(self, run: _Run) -> None:
        """Make the branches that the feeds ask for: share full blocks, copy a last block that several write on."""
        block, start = self._device.block, len(run.job.prompt)
        first = start // block
        old, new = run.branches, []
        heirs = [feed.parent for feed in run.feeds]
        moved: set[int] = set()
        for feed in run.feeds:
            parent = old[feed.parent]
            length = start + feed.keep
            if length > parent.length:
                raise ValueError(f"a feed keeps {feed.keep} tokens of a branch that has {parent.length - start}")
            full, partly = length // block - first, length % block
            blocks = parent.blocks[:full]
            for item in blocks:
                run.owners[item] += 1
            if partly:
                last = parent.blocks[full]
                if heirs.count(feed.parent) == 1 or feed.parent not in moved:
                    moved.add(feed.parent)
                    run.owners[last] += 1
                    blocks.append(last)
                else:
                    blocks.append(self._own(run))
                    self._device.copy(last, blocks[-1])
            while (first + len(blocks)) * block < length + len(feed.tokens):
                blocks.append(self._own(run))
            new.append(_Branch(blocks, length))
        for branch in old:
            for item in branch.blocks:
                self._disown(run, item)
        run.branches = new

    def _own(self, run: _Run) -> int:
        block = self._prefixes.take()
        run.owners[block] = 1
        run.held += 1
        return block

    def _disown(self, run: _Run, block: int) -> None:
        run.owners[block] -= 1
        if not run.owners[block]:
            del run.owners[block]
            if block != run.path[-1].block:
                self._prefixes.give(block)
                run.held -= 1

    def _leave(self, run: _Run) -> None:
        self._running.remove(run)
        for block in run.owners:
            if block != run.path[-1].block:
                self._prefixes.give(block)
        self._prefixes.release(run.path)


class Worker:
    """One thread that drives a scheduler. ``submit`` and ``cancel`` may be called from any thread.

    When it is idle it waits ``tick`` seconds after the first job, so that callers who start together are planned together.
    """

    def __init__(self, open_device: Callable[[], Device], *, tick: float = 0.002, tokens: int = 1024, rows: int = 64):
        self._open = open_device
        self._tick = tick
        self._limits = (tokens, rows)
        self._wake = threading.Condition()
        self._inbox: list[Job] = []
        self._cancelled: list[Job] = []
        self._closing = self._forgetting = False
        self.scheduler: Scheduler | None = None
        self._thread = threading.Thread(target=self._main, name="rung-engine", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """It takes no more jobs: closed, or its device failed."""
        return self._closing

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs. Raises RuntimeError when it is closed."""
        with self._wake:
            if self._closing:
                raise RuntimeError("the engine is closed")
            self._inbox.extend(jobs)
            self._wake.notify()

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Drop jobs: their cache blocks are free before the next forward pass."""
        with self._wake:
            self._cancelled.extend(jobs)
            self._wake.notify()

    def forget(self) -> None:
        """Have the scheduler forget shared prefixes before it plans the next jobs."""
        with self._wake:
            self._forgetting = True

    def close(self) -> None:
        """Stop the thread and free the device; jobs still there finish with an error."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _main(self) -> None:
        scheduler: Scheduler | None = None
        failure: BaseException | None = None
        try:
            scheduler = self.scheduler = Scheduler(self._open(), tokens=self._limits[0], rows=self._limits[1])
            while self._turn(scheduler):
                if scheduler.busy:
                    scheduler.step()
        except BaseException as error:
            failure = error
        self.scheduler = None
        with self._wake:
            self._closing = True
            left = [*self._inbox, *(scheduler.drain() if scheduler is not None else ())]
            self._inbox = []
        for job in left:
            with contextlib.suppress(Exception):
                job.finish(failure or RuntimeError("the engine was closed"))

    def _turn(self, scheduler: Scheduler) -> bool:
        """Wait for work, then hand over what has arrived. False when the worker is to stop."""
        with self._wake:
            idle = not scheduler.busy
            while idle and not (self._inbox or self._closing):
                self._cancelled.clear()
                self._wake.wait()
            if self._closing:
                return False
        if idle:
            time.sleep(self._tick)
        with self._wake:
            jobs, self._inbox = self._inbox, []
            cancelled, self._cancelled = self._cancelled, []
            forgetting, self._forgetting = self._forgetting, False
        if forgetting:
            scheduler.forget()
        if jobs:
            scheduler.add(job for job in jobs if job not in cancelled)
        for job in cancelled:
            scheduler.cancel(job)
        return True
