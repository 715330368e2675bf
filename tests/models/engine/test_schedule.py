"""The scheduler over a device that checks every block table: its logits are a function of the tokens really in the cache."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rung.models.engine.schedule import Cost, Feed, TokenSpan
from rung.models.engine.schedule.prefixes import TAIL, Prefixes
from rung.models.engine.schedule.scheduler import Scheduler
from rung.models.engine.schedule.worker import Worker

VOCABULARY = 23


def reference(tokens: Sequence[int]) -> NDArray[np.float32]:
    seed = 7
    for token in tokens:
        seed = (seed * 1_000_003 + token + 1) % (1 << 61)
    return np.random.default_rng(seed).random(VOCABULARY, dtype=np.float32)


class Tape:
    """Stores tokens instead of keys and values."""

    def __init__(self, blocks: int = 64, block: int = 4) -> None:
        self.block, self.blocks = block, blocks
        self.cells: list[list[int | None]] = [[None] * block for _ in range(blocks)]
        self.computed = 0
        self.batches: list[int] = []
        self.fail = False

    def copy(self, source: int, target: int) -> None:
        assert source != target
        self.cells[target] = list(self.cells[source])

    def forward(self, spans: Sequence[TokenSpan]) -> NDArray[np.float32]:
        if self.fail:
            raise RuntimeError("the device is gone")
        self.batches.append(len(spans))
        written: set[tuple[int, int]] = set()
        for span in spans:
            assert len(span.blocks) * self.block >= span.past + len(span.tokens)
            for offset, token in enumerate(span.tokens):
                index, cell = divmod(span.past + offset, self.block)
                place = (span.blocks[index], cell)
                assert place not in written, "two sequences write the same place"
                written.add(place)
                self.cells[place[0]][place[1]] = token
                self.computed += 1
        rows = []
        for span in spans:
            if span.wanted:
                length = span.past + len(span.tokens)
                history = [self.cells[span.blocks[i // self.block]][i % self.block] for i in range(length)]
                assert None not in history
                rows.append(reference([t for t in history if t is not None]))
        return np.stack(rows) if rows else np.zeros((0, VOCABULARY), np.float32)


class Greedy:
    adapter = 0
    width = 1

    def __init__(self, prompt: Sequence[int], room: int) -> None:
        self.prompt, self.room = tuple(prompt), room
        self.cost = Cost()
        self.out: list[int] = []
        self.error: BaseException | None = None
        self.done: Future[list[int]] = Future()

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]:
        self.out.append(int(logits[0].argmax()))
        if len(self.out) >= self.room:
            return ()
        return (Feed((self.out[-1],), len(self.out) - 1),)

    def finish(self, error: BaseException | None) -> None:
        self.error = error
        if error is None:
            self.done.set_result(self.out)
        else:
            self.done.set_exception(error)


class Wide(Greedy):
    """Two branches that fork from the better one at every step; checks each row against its own history."""

    width = 2

    def __init__(self, prompt: Sequence[int], room: int) -> None:
        super().__init__(prompt, room)
        self.lines: list[tuple[int, ...]] = []

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]:
        lines: list[tuple[int, ...]] = self.lines or [()]
        assert len(logits) == len(lines)
        for row, line in zip(logits, lines, strict=True):
            assert (row == reference((*self.prompt, *line))).all()
        best = max(range(len(lines)), key=lambda i: float(logits[i].max()))
        top = np.argsort(-logits[best])[:2]
        self.lines = [(*lines[best], int(t)) for t in top]
        self.out = list(self.lines[0])
        if len(self.out) >= self.room:
            return ()
        return [Feed((line[-1],), len(line) - 1, best) for line in self.lines]


class Chains(Greedy):
    """Feeds whole chains after the prompt and goes back, as the label search does."""

    def __init__(self, prompt: Sequence[int], chains: Sequence[tuple[int, ...]]) -> None:
        super().__init__(prompt, max(map(len, chains)))
        self.chains = list(chains)
        self.fed: tuple[int, ...] = ()

    def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]:
        assert (logits[0] == reference((*self.prompt, *self.fed))).all()
        self.out.append(int(logits[0].argmax()))
        if not self.chains:
            return ()
        chain = self.chains.pop(0)
        keep = 0
        while keep < min(len(chain) - 1, len(self.fed)) and chain[keep] == self.fed[keep]:
            keep += 1
        self.fed = chain
        return (Feed(chain[keep:], keep),)


def decode(prompt: Sequence[int], room: int) -> list[int]:
    out: list[int] = []
    for _ in range(room):
        out.append(int(reference([*prompt, *out]).argmax()))
    return out


def drive(scheduler: Scheduler, limit: int = 10_000) -> None:
    while scheduler.busy:
        scheduler.step()
        limit -= 1
        assert limit, "the scheduler does not come to an end"


prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=12)


@given(prompts, st.integers(4, 40), st.integers(1, 6), st.integers(40, 90))
def test_every_job_gets_what_it_gets_alone(items: list[list[int]], tokens: int, rows: int, blocks: int) -> None:
    tape = Tape(blocks)
    scheduler = Scheduler(tape, tokens=tokens, rows=rows)
    for round_ in range(2):  # the second time over a warm cache
        jobs = [Greedy(p, 1 + (i + round_) % 5) for i, p in enumerate(items)]
        scheduler.add(jobs)
        drive(scheduler)
        for job in jobs:
            assert job.error is None
            assert job.out == decode(job.prompt, job.room)
            assert job.cost.cached <= max(0, len(job.prompt) - TAIL)
    assert scheduler._prefixes.free == blocks, "blocks leaked"


@given(prompts, st.integers(0, 3))
def test_branches_and_chains_keep_their_own_history(items: list[list[int]], seed: int) -> None:
    tape = Tape(200)
    scheduler = Scheduler(tape, tokens=16, rows=8)
    random = np.random.default_rng(seed)
    jobs: list[Greedy] = []
    for i, prompt in enumerate(items):
        chains = [tuple(int(t) for t in random.integers(0, 3, n)) for n in random.integers(1, 9, 4)]
        jobs.append([Wide(prompt, 6), Chains(prompt, chains), Greedy(prompt, 4)][i % 3])
    scheduler.add(jobs)
    drive(scheduler)
    assert [job.error for job in jobs] == [None] * len(jobs)
    assert scheduler._prefixes.free == 200


def test_a_common_prefix_is_computed_once() -> None:
    tape = Tape(400)
    prefix = [1, 2, 3] * 30 + [5] * 11  # 101 tokens: ends inside a block
    jobs = [Greedy([*prefix, i % 20, 9, 8], 1) for i in range(20)]
    scheduler = Scheduler(tape, tokens=1000, rows=64)
    scheduler.add(jobs)
    drive(scheduler)
    # 104 for the first, then at most the tokens after the last whole block of 4.
    assert tape.computed <= 104 + 19 * 4
    assert len(tape.batches) == 2
    assert sum(job.cost.cached for job in jobs) == 20 * 104 - tape.computed


def test_tokens_shared_inside_a_block_are_copied() -> None:
    tape = Tape(64, block=32)
    prefix = list(range(20))
    scheduler = Scheduler(tape, tokens=1000, rows=64)
    jobs = [Greedy([*prefix, 7, i, i], 2) for i in range(8)]
    scheduler.add(jobs)
    drive(scheduler)
    assert all(job.out == decode(job.prompt, 2) for job in jobs)
    assert tape.computed == 23 + 7 * 2 + 8


def test_a_prompt_is_never_cut_to_one_token() -> None:
    for length in range(2, 40):
        tape = Tape(64)
        seen: list[int] = []
        forward = tape.forward

        def record(spans: Sequence[TokenSpan], forward=forward, seen=seen) -> NDArray[np.float32]:  # type: ignore[no-untyped-def]
            seen.extend(len(s.tokens) for s in spans)
            return forward(spans)  # type: ignore[no-any-return]

        tape.forward = record  # type: ignore[method-assign]
        scheduler = Scheduler(tape, tokens=5, rows=4)
        jobs = [Greedy(range(length), 1), Greedy(range(length), 1)]
        scheduler.add(jobs)
        drive(scheduler)
        assert min(seen) >= TAIL


def test_cancelling_frees_at_once_and_wakes_those_who_waited() -> None:
    tape = Tape(64)
    scheduler = Scheduler(tape, tokens=8, rows=8)
    first, second = Greedy([1] * 30, 5), Greedy([1] * 30 + [2], 5)
    scheduler.add([first, second])
    scheduler.step()
    assert scheduler.cancel(first)
    assert not scheduler.cancel(first)
    assert scheduler._prefixes.free == 64
    drive(scheduler)
    assert second.out == decode(second.prompt, 5)
    assert first.out == []


def test_more_than_the_cache_waits_and_too_much_is_an_error() -> None:
    tape = Tape(12)
    scheduler = Scheduler(tape, tokens=64, rows=8)
    jobs = [Greedy([i, i + 1, i + 2, i, i, i, i], 10) for i in range(6)]
    huge = Greedy([1] * 40, 30)
    scheduler.add([*jobs, huge])
    assert isinstance(huge.error, MemoryError)
    drive(scheduler)
    assert all(job.out == decode(job.prompt, 10) for job in jobs)


def test_a_job_that_fails_leaves_the_others_alone() -> None:
    class Broken(Greedy):
        def advance(self, logits: NDArray[np.float32]) -> Sequence[Feed]:
            raise ValueError("impossible form")

    tape = Tape(64)
    scheduler = Scheduler(tape, tokens=64, rows=8)
    good, bad = Greedy([1, 2, 3], 4), Broken([1, 2, 4], 4)
    scheduler.add([good, bad])
    drive(scheduler)
    assert good.out == decode(good.prompt, 4)
    assert isinstance(bad.error, ValueError)
    assert scheduler._prefixes.free == 64


def test_cost_is_shared_out_by_tokens() -> None:
    tape = Tape(64)
    scheduler = Scheduler(tape, tokens=64, rows=8)
    jobs = [Greedy([1] * 20, 1), Greedy([2] * 10, 1)]
    scheduler.add(jobs)
    drive(scheduler)
    assert jobs[0].cost.seconds == pytest.approx(2 * jobs[1].cost.seconds)


def test_the_worker_coalesces_callers_and_stops() -> None:
    tape = Tape(256)
    worker = Worker(lambda: tape, tick=0.05)
    jobs = [Greedy([3] * 12 + [i % 7, i % 5], 3) for i in range(10)]
    threads = [threading.Thread(target=worker.submit, args=([job],)) for job in jobs]
    for thread in threads:
        thread.start()
    assert [job.done.result(5) for job in jobs] == [decode(job.prompt, 3) for job in jobs]
    assert max(tape.batches) >= 9
    worker.close()
    with pytest.raises(RuntimeError, match="closed"):
        worker.submit([Greedy([1], 1)])


def test_a_dead_device_fails_every_job() -> None:
    tape = Tape(64)
    tape.fail = True
    worker = Worker(lambda: tape)
    job = Greedy([1, 2], 2)
    worker.submit([job])
    with pytest.raises(RuntimeError, match="the device is gone"):
        job.done.result(5)
    worker.close()
    assert worker.closed


def test_closing_fails_what_is_left() -> None:
    gate = threading.Event()

    class Slow(Tape):
        def forward(self, spans: Sequence[TokenSpan]) -> NDArray[np.float32]:
            gate.wait(5)
            return super().forward(spans)

    worker = Worker(lambda: Slow(64), tick=0)
    job = Greedy([1, 2], 50)
    worker.submit([job])
    closer = threading.Thread(target=worker.close)
    closer.start()
    gate.set()
    closer.join(5)
    with pytest.raises(RuntimeError, match="closed"):
        job.done.result(5)


def test_a_worker_is_idle_when_nothing_is_left_to_compute() -> None:
    gate, begun = threading.Event(), threading.Event()

    class Slow(Tape):
        def forward(self, spans: Sequence[TokenSpan]) -> NDArray[np.float32]:
            begun.set()
            gate.wait(5)
            return super().forward(spans)

    worker = Worker(lambda: Slow(64), tick=0)
    assert worker.idle()
    job = Greedy([1, 2], 3)
    worker.submit([job])
    assert not worker.idle()
    begun.wait(5)
    assert not worker.idle()
    gate.set()
    job.done.result(5)
    worker.close()
    assert worker.idle()


def test_forgetting_frees_every_block_that_no_job_uses() -> None:
    prefixes = Prefixes(block=4, blocks=16)
    done, running = tuple(range(12)), tuple(range(100, 108))
    path = prefixes.claim(done, [])
    for node in path:
        node.ready = True
    prefixes.release(path)
    kept = prefixes.claim(running, [])
    for node in kept:
        node.ready = True
    assert prefixes.match((*done, 1)).nodes
    prefixes.forget()
    assert not prefixes.match((*done, 1)).nodes
    assert len(prefixes.match((*running, 1, 2, 3)).nodes) == 2
    assert prefixes.free == 14
