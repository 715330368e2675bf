"""Which tokens of which jobs are computed together next."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rung.models.engine.schedule import Device, Feed, Job, TokenSpan
from rung.models.engine.schedule.prefixes import TAIL, Prefixes, PrefixNode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    path: list[PrefixNode]
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
        spans, owners = self._batch()
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
                self._prefilled(run, prefilled)
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

    def _batch(self) -> tuple[list[TokenSpan], list[tuple[_Run, int, int]]]:
        """What is computed next, and of each span its run, its tokens, and how many of these are of the prompt."""
        spans: list[TokenSpan] = []
        owners: list[tuple[_Run, int, int]] = []
        budget = self._tokens
        for run in self._running:
            if run.feeds:
                for feed, branch in zip(run.feeds, run.branches, strict=True):
                    spans.append(
                        TokenSpan(feed.tokens, branch.length, self._table(run, branch), adapter=run.job.adapter)
                    )
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
            spans.append(TokenSpan(prompt[run.done : run.done + n], run.done, blocks, ready, run.job.adapter))
            owners.append((run, n, n))
            budget -= n
        return spans, owners

    def _prefilled(self, run: _Run, count: int) -> None:
        run.done += count
        for node in run.path[: run.done // self._device.block]:
            node.ready = True
        if run.done == len(run.job.prompt):
            run.path[-1].ready = True

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
