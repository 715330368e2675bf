"""Does an environment judge as it should? Its right calls, nothing at all, and random valid calls, through the harness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rung.agents.environments.environment import Judgement
from rung.agents.loop.episode import Episode
from rung.agents.loop.limits import EpisodeLimits
from rung.agents.loop.move import AgentPolicy
from rung.agents.policies.given.noisy import Noisy
from rung.agents.policies.given.scripted import Scripted
from rung.agents.program.program import AgentProgram, make_environment
from rung.core.codec import decode
from rung.core.errors import InputError
from rung.core.parts.option import argument, option
from rung.core.text.columns import align
from rung.core.types import Interval, Progress
from rung.core.types.trail import MemoryTrail
from rung.ladder.view.numbers import quality
from rung.metrics.statistics.stats import wilson
from rung.studies.study import Lab, Study


@dataclass(frozen=True, slots=True)
class OracleRow:
    """How often an agent solved one of ``n`` scenarios, did harm, and tried what was refused."""

    agent: str
    solved: Interval
    harm: Interval
    attempted: int
    n: int


@dataclass(frozen=True, slots=True)
class OracleTable:
    """The baselines of an environment. ``refused``: right calls that its rules refuse, (scenario, call, why); ``clean``: scenarios
    without one."""

    environment: str
    rows: tuple[OracleRow, ...]
    clean: int
    refused: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Oracle(Study[None, OracleTable]):
    """What do the right calls, nothing, and random valid calls score in an environment?"""

    name = "oracle"
    subject = "none"
    records = OracleTable

    environment: str = argument("An environment: NAME, or NAME:FOLDER.", "ENVIRONMENT")
    limit: int = option(1000, "At most this many scenarios of dev and as many of test.", low=1)
    steps: int = option(10, "Random calls an episode.", low=1)

    async def measure(self, subject: None, lab: Lab) -> OracleTable:
        """Raises InputError for an environment that there is not."""
        world = make_environment(self.environment)
        counts = [world.scenarios(split, self.limit) for split in _SPLITS]
        scenarios = [scenario for names in counts for scenario in names]
        if not scenarios:
            raise InputError(f"{self.environment} has no scenarios", remedy="give another environment")
        agents: dict[str, tuple[AgentPolicy, int]] = {
            "right calls": (Scripted(), 1000),
            "nothing": (Scripted(calls=(), output=""), 2),
            f"{self.steps} random valid calls": (Noisy(p=1.0), self.steps),
        }
        rows: list[OracleRow] = []
        refused: list[tuple[str, str, str]] = []
        for agent, (policy, steps) in agents.items():
            found = []
            for scenario in scenarios:
                judged, calls = await self._play(policy, steps, scenario)
                found.append(judged)
                refused += [(scenario, *call) for call in calls] if agent == "right calls" else []
            lab.progress(Progress("oracle", len(rows) + 1, len(agents), agent))
            n = len(found)
            solved, harm = (
                sum(bool(part) for part in parts) for parts in zip(*((j.solved, j.harms) for j in found), strict=True)
            )
            rows.append(OracleRow(agent, wilson(solved, n), wilson(harm, n), sum(len(j.attempted) for j in found), n))
        clean = len(scenarios) - len({scenario for scenario, _, _ in refused})
        return OracleTable(self.environment.partition(":")[0], tuple(rows), clean, tuple(refused))

    async def _play(self, policy: AgentPolicy, steps: int, scenario: str) -> tuple[Judgement, list[tuple[str, str]]]:
        """The verdict, and what was refused of calls that would change something."""
        program = AgentProgram(policy, environment=self.environment, limits=EpisodeLimits(steps=steps, loops=False))
        view = await Episode(program.agent(), "e", MemoryTrail()).run(program.start({"scenario": scenario}))
        assert view.ended is not None
        judged: Judgement = decode(Judgement, view.ended["verdict"])
        told = {attempt.partition(":")[0] for attempt in judged.attempted}
        made = [call for turn in view.turns for call in turn.calls if call.refused and call.tool in told]
        return judged, [(f"{call.tool} {dict(call.arguments)}", call.text or "") for call in made]

    def about(self, subject: None) -> str:
        return self.environment.partition(":")[0]

    def table(self, found: OracleTable) -> str:
        lines = [["agent", "solved", "did harm", "refused writes", "n"]]
        lines += [
            [row.agent, quality(row.solved), quality(row.harm), str(row.attempted), str(row.n)] for row in found.rows
        ]
        n = found.rows[0].n
        text = f"{found.environment}\n{align(lines)}\nscenarios whose right calls are all carried out: {found.clean} of {n}"
        for scenario, call, why in found.refused:
            text += f"\n  {scenario}: {call}\n    {why}"
        return text


_SPLITS: tuple[Literal["dev", "test"], ...] = ("dev", "test")
