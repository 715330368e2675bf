"""How long does a sandbox take for a short script, what does hostile code cost this process, and is what is right called right?

    python bench/sandbox.py [--runs 200] [--humaneval HumanEval.jsonl.gz]

Prints for each tier: start + run of ``1 + 1`` (wall and CPU, medians; CPU is this process's and its children's), the time over the limit after
which an endless loop is stopped, and this process's growth under memory bombs and floods. With --humaneval: how many of the canonical
solutions pass.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import resource
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.sandbox import attacks

from rung.core.errors import RungError
from rung.core.types import Case
from rung.metrics.answers.code import Passes
from rung.sandbox import CodeSandbox, Quota, open_sandbox


def cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))


def speed(sandbox: CodeSandbox, runs: int) -> None:
    sandbox.run("1 + 1")
    walls = []
    before = cpu()
    for _ in range(runs):
        started = time.perf_counter()
        assert sandbox.run("1 + 1").value == "2"
        walls.append(time.perf_counter() - started)
    walls.sort()
    print(
        f"{sandbox.name}: start + run {1e3 * statistics.median(walls):.2f} ms median, {1e3 * walls[int(0.95 * runs)]:.2f} ms"
        f" p95, least {1e3 * walls[0]:.2f} ms; CPU {1e3 * (cpu() - before) / runs:.2f} ms a run"
    )


def stopping(sandbox: CodeSandbox) -> None:
    over = []
    for code in attacks.TIME.values():
        started = time.perf_counter()
        sandbox.run(code, quota=Quota(seconds=0.5, memory=128))
        over.append(time.perf_counter() - started - 0.5)
    print(f"{sandbox.name}: endless code is stopped at most {max(over):.2f} s after its limit of 0.5 s")


def growth(sandbox: CodeSandbox) -> None:
    worst = (0, "")
    for name, code in {**attacks.MEMORY, **attacks.FLOODS}.items():
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        sandbox.run(code, quota=Quota(seconds=2, memory=128, output=10_000))
        worst = max(worst, (status("VmHWM") - before, name))
    print(f"{sandbox.name}: this process grew by {worst[0] / 2**20:.0f} MB at most (by {worst[1]})")


def solutions(sandbox: CodeSandbox, path: str) -> None:
    with gzip.open(path, "rt") as stream:
        rows = [json.loads(line) for line in stream]
    cases = [Case({"prompt": row["prompt"]}, row["canonical_solution"], row["test"]) for row in rows]
    started, before = time.perf_counter(), cpu()
    scores = asyncio.run(Passes(sandbox).score(cases))
    right = int(sum(score.value for score in scores))
    print(
        f"{sandbox.name}: {right} of {len(rows)} canonical solutions pass, {time.perf_counter() - started:.1f} s,"
        f" CPU {cpu() - before:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--humaneval", default="")
    given = parser.parse_args()
    for name in ("monty", "bubblewrap"):
        try:
            sandbox = open_sandbox(name)
        except RungError as error:
            print(f"{name}: not measured: {error.message}")
            continue
        print(f"{name}" + (f" {version('pydantic-monty')}" if name == "monty" else ""))
        speed(sandbox, given.runs)
        stopping(sandbox)
        growth(sandbox)
        if given.humaneval and name == "bubblewrap":
            solutions(sandbox, given.humaneval)
        sandbox.close()


if __name__ == "__main__":
    main()
