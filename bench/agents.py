"""Agents: what a step costs without and with a trail, what it leaves on the disk, and what a kill -9 leaves undone.

python -m bench.agents steps        # microseconds of CPU a step, bytes a step
python -m bench.agents kill 200     # kill -9 at that many random moments
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.agents.crash import kill_and_resume

from rung.agents.loop.episode import Episode, Start
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.log import Agent
from rung.agents.loop.move import Decision, act, finish
from rung.agents.loop.toolset import Toolset
from rung.agents.loop.view import View
from rung.agents.tools.function import tool
from rung.core.types.trail import MemoryTrail, Trail
from rung.store import open_store


class Adds:
    """Calls a tool ``n`` times."""

    def __init__(self, n: int) -> None:
        self.n = n

    async def decide(self, view: View) -> Decision:
        return finish("done") if view.steps >= self.n else act("add", a=view.steps, b=1)


def add(a: int, b: int) -> int:
    return a + b


async def once(n: int, trail: Trail, id: str) -> tuple[float, float]:
    """Microseconds of CPU and of wall time a step."""
    agent = Agent(Adds(n), Toolset([tool(add)]), limits=EpisodeLimits(steps=n + 1))
    cpu, wall = time.process_time(), time.perf_counter()
    view = await Episode(agent, id, trail).run(Start("add"))
    assert view.ended is not None
    return (time.process_time() - cpu) / n * 1e6, (time.perf_counter() - wall) / n * 1e6


def steps() -> None:
    for kind in ("none", "normal", "full"):
        for n in (20, 200, 1000):
            with TemporaryDirectory() as folder:
                file = Path(folder) / "a.db"
                with open_store(f"sqlite:///{file}") as store:
                    taken = []
                    for at in range(7):
                        trail: Trail = MemoryTrail() if kind == "none" else store.episodes.trail(kind)  # type: ignore[arg-type]
                        taken.append(asyncio.run(once(n, trail, f"e{at}")))
                    began = time.process_time()
                    if kind != "none":
                        store.episodes.read("e6")
                    reading = (time.process_time() - began) * 1000
                    cpu, wall = (median(one[part] for one in taken[1:]) for part in (0, 1))
                    beside = Path(f"{file}-wal").stat().st_size  # a ring, whatever the number of steps
                size = file.stat().st_size / (7 * n) if kind != "none" else 0
            print(
                f"{kind:<7} {n:>5} steps: {cpu:6.0f} us CPU, {wall:6.0f} us wall a step; {size:6.0f} bytes a step"
                f" and a log of {beside / 1e6:.1f} MB; read {reading:.1f} ms"
            )


def kill(points: int) -> None:
    for effect, durability in (("keyed", "normal"), ("keyed", "full"), ("once", "normal")):
        kills = lost = broken = seed = 0
        twice: list[str] = []
        while kills < points / 3:
            seed += 1
            with TemporaryDirectory() as folder:
                out = kill_and_resume(Path(folder), effect, seed, 10, durability)  # type: ignore[arg-type]
            kills, lost, broken = kills + out.kills, lost + out.lost, broken + (not out.whole)
            twice += out.twice
        print(
            f"{effect} {durability}: {kills} kills in {seed} episodes; lost {lost}, twice {len(twice)}, ended otherwise {broken}",
            flush=True,
        )


if __name__ == "__main__":
    steps() if sys.argv[1:2] == ["steps"] else kill(int(sys.argv[2]))
