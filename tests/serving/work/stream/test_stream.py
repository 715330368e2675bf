"""Windows: what is counted where, when they close, what is too late, and what a process that was killed goes on with."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from rung.core.errors import InputError
from rung.serving.work.stream.run import StreamJob
from rung.serving.work.stream.source import PipeSource, StreamRow
from rung.serving.work.stream.window import Aggregate, StreamWindows, read_time
from tests import brokers
from tests.brokers import ROOT


def fill(windows: StreamWindows, times: Sequence[float]) -> list[str]:
    return [windows.add({"x": at, "who": f"w{int(at) % 2}"}, at) for at in times]


def test_tumbling_windows_close_when_the_watermark_has_passed() -> None:
    windows = StreamWindows(10, late=2, aggregates=(Aggregate("count"), Aggregate("mean", "x"), Aggregate("max", "x")))
    assert fill(windows, [100, 109, 103, 111.9]) == ["kept"] * 4
    assert list(windows.close()) == []
    assert fill(windows, [112, 104, 115]) == ["kept", "late", "kept"]
    (row,) = windows.close()
    assert (row.start, row.end, row.values) == (100, 110, {"count": 3, "mean_x": 104.0, "max_x": 109.0})
    assert fill(windows, [109.9]) == ["late"]
    (last,) = windows.close(all=True)
    assert last.values["count"] == 3


def test_sliding_windows_agree_with_counting_each_by_itself() -> None:
    dice = random.Random(7)
    times = sorted(dice.uniform(-30, 300) for _ in range(400))
    windows = StreamWindows(30, slide=10, by=("who",))
    given = []
    for at in times:
        fill(windows, [at])
        given += list(windows.close())
    given += list(windows.close(all=True))
    want = Counter(
        (start, f"w{int(at) % 2}") for at in times for start in range(-70, 310, 10) if start <= at < start + 30
    )
    assert {(row.start, row.group[0]): row.values["count"] for row in given} == dict(want)


def test_a_partition_that_has_rows_left_is_waited_for() -> None:
    windows = StreamWindows(10, waiting=frozenset({0, 1}))
    windows.add({}, 50, 0)
    assert list(windows.close()) == []
    windows.add({}, 5, 1)
    assert list(windows.close()) == []
    windows.add({}, 21, 1)
    assert [row.start for row in windows.close()] == [0]
    windows.waiting = frozenset()
    windows._heard[1] -= 60  # it has been quiet
    windows.add({}, 75, 0)
    assert [row.start for row in windows.close()] == [20, 50]


def test_times_and_aggregates_are_read_or_refused() -> None:
    assert read_time(1_700_000_000_000) == read_time(1_700_000_000) == read_time("2023-11-14T22:13:20Z")
    for bad in ("yesterday", None, True, float("nan"), 10**400, [1]):
        with pytest.raises(InputError):
            read_time(bad)
    for text in ("median:x", "sum", "count:x", ""):
        with pytest.raises(InputError):
            Aggregate.read(text)
    with pytest.raises(InputError):
        StreamWindows(10, slide=20)
    windows = StreamWindows(10, by=("who",), most=2)
    fill(windows, [0, 1])
    with pytest.raises(InputError) as many:
        windows.add({"who": "another"}, 2)
    assert many.value.code == "too-many-groups"


class Killed(Exception):
    pass


class MemorySource:
    """Rows in pieces of seven, which end like a killed process after ``pieces`` of them; what it was told is kept as offsets are."""

    def __init__(
        self, rows: Sequence[dict[str, object]], noted: tuple[int, int, float] = (0, 0, float("-inf"))
    ) -> None:
        self.rows, self.noted, self.left = rows, noted, 10**9
        self.read, self.seen, self.closed = noted

    async def pieces(self) -> AsyncGenerator[Sequence[StreamRow]]:
        while self.read < len(self.rows):
            if not self.left:
                raise Killed
            self.left -= 1
            begin, self.read = self.read, min(len(self.rows), self.read + 7)
            yield [
                StreamRow(json.dumps(self.rows[at]).encode(), f"@{at}", 0, at, at < self.seen)
                for at in range(begin, self.read)
            ]

    async def done(self, first: Callable[[int], int | None], closed: float) -> None:
        needed = first(0)
        self.noted = (self.read if needed is None else needed, max(self.read, self.seen), closed)

    def behind(self) -> Mapping[int, int] | None:
        return {0: len(self.rows) - self.read}

    async def end(self) -> None:
        pass


async def test_a_process_that_goes_on_gives_out_what_one_would_have_alone() -> None:
    dice = random.Random(3)
    rows: list[dict[str, object]] = [{"time": at + dice.uniform(0, 3)} for at in range(200)]

    def job(source: MemorySource, out: list[str]) -> StreamJob:
        return StreamJob(source, StreamWindows(10, slide=5, late=2), out.append, lambda line: None)

    alone: list[str] = []
    whole = await job(MemorySource(rows), alone).run()
    assert whole.late == 0
    out: list[str] = []
    source = MemorySource(rows)
    for pieces in (9, 3, 1, 12):
        source = MemorySource(rows, source.noted)
        source.left = pieces
        with pytest.raises(Killed):
            await job(source, out).run()
    report = await job(MemorySource(rows, source.noted), out).run()
    assert out == alone
    assert report.late == 0


async def test_of_rows_that_came_together_none_makes_another_partitions_late() -> None:
    class Together(MemorySource):
        async def pieces(self) -> AsyncGenerator[Sequence[StreamRow]]:
            yield [StreamRow(b'{"time": %d}' % at, "", part, at) for part in (0, 1) for at in range(40)]

        def behind(self) -> Mapping[int, int]:
            return {0: 0, 1: 0}

    out: list[str] = []
    report = await StreamJob(Together([]), StreamWindows(10), out.append, lambda line: None).run()
    assert (report.rows, report.late) == (80, 0)
    assert [json.loads(line)["count"] for line in out] == [20] * 4


async def test_rows_that_are_wrong_are_told_and_the_rest_counted() -> None:
    read, write = os.pipe()
    lines = [
        b'{"time": 1}',
        b"nonsense",
        b"3",
        b'{"time": "x"}',
        b"",
        b'{"time": 2, "who": "caf\xc3\xa9"}',
        b'{"time": 1e12}',
    ]
    os.write(write, b"\n".join(lines))
    os.close(write)
    out: list[str] = []
    said: list[str] = []
    report = await StreamJob(PipeSource(read), StreamWindows(10), out.append, said.append).run()
    os.close(read)
    assert (report.rows, report.wrong, report.windows) == (3, 3, 2)
    assert json.loads(out[0])["count"] == 2
    assert [line.split(":")[0] for line in said] == ["line 2", "line 3", "line 4"]


@pytest.mark.slow
def test_whoever_writes_faster_than_is_read_waits(tmp_path: Path) -> None:
    """A pipe into a stream that is stopped fills and holds no more than its buffers."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "rung", "stream", "-", "--window", "10s"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=environment
    ) as job:
        try:
            assert job.stdin is not None
            row = b'{"time": 5}\n' * 1000
            for _ in range(20):
                job.stdin.write(row)
            job.stdin.flush()
            os.kill(job.pid, 19)
            os.set_blocking(job.stdin.fileno(), False)
            taken = 0
            for _ in range(300):
                taken += os.write(job.stdin.fileno(), row) if _writable(job.stdin.fileno()) else 0
            assert taken < 2**20
            os.kill(job.pid, 18)
            os.set_blocking(job.stdin.fileno(), True)
            out, err = job.communicate(timeout=60)
        finally:
            job.kill()
    assert json.loads(out)["count"] == 20_000 + taken // 12, err


def _writable(descriptor: int) -> bool:
    import select

    return bool(select.select([], [descriptor], [], 0)[1])


@pytest.mark.server
@pytest.mark.slow
def test_a_topic_is_windowed_once_over_kill_9(tmp_path: Path) -> None:
    pytest.importorskip("confluent_kafka", reason="needs the extra kafka")
    base = 1_700_000_000
    with brokers.kafka() as url:
        rows = [("", json.dumps({"time": base + at / 10, "label": "ab"[at % 2]}).encode()) for at in range(600)]
        brokers.kafka_send(url, "sms", rows[:300])
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        command = [
            sys.executable,
            "-m",
            "rung",
            "stream",
            "sms",
            "--broker",
            url,
            "--window",
            "10s",
            "--by",
            "label",
            "--every",
            "0.5",
        ]

        def run(known: set[str], until: int) -> list[str]:
            """Windows, until so many different ones are known; then it is killed."""
            found: list[str] = []
            with (
                (tmp_path / "err").open("ab") as err,
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, cwd=tmp_path, env=environment) as job,
            ):
                assert job.stdout is not None
                try:
                    while len(known.union(found)) < until:
                        found.append(job.stdout.readline().decode())
                        assert found[-1], (tmp_path / "err").read_text()
                    time.sleep(0.3)  # mostly what was given out is noted by then; what is not is given out again, alike
                finally:
                    job.kill()
                return found + [line.decode() for line in job.stdout]

        first = run(set(), 4)
        brokers.kafka_send(url, "sms", rows[300:])
        second = run(set(first), 10)
    windows = [json.loads(line) for line in sorted({*first, *second})]
    assert [(row["label"], row["count"]) for row in windows] == [(label, 50) for _ in range(5) for label in "ab"]
    assert len({row["start"] for row in windows}) == 5
