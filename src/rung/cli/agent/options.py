"""What an agent is made of, as options of a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.cli.base.options import assigned_values
from rung.core.parts.option import option


@dataclass(frozen=True)
class AgentChanges:
    """Parts of an agent; each takes the place of what its file says."""

    policy: str = option("", "How it decides: llm, goal, reflex, ...; default llm.", metavar="NAME")
    model: str = option("", "The model, as provider:name.", flags=("-m", "--model"), metavar="MODEL")
    sets: tuple[str, ...] = option(
        (), "An option of the policy; may be repeated.", flags=("--set",), metavar="NAME=VALUE"
    )
    tools: tuple[str, ...] = option(
        (), "A tool: calculator, sql:FILE, ...; may be repeated.", flags=("--tool",), metavar="TOOL"
    )
    memory: str = option("", "What it takes from episode to episode: lessons, facts, episodic.", metavar="NAME")
    guard: str = option("", "Rules on its calls, a YAML file.", metavar="FILE")
    limits: tuple[str, ...] = option(
        (), "A limit: steps=12, tokens=4000, ...; may be repeated.", flags=("--limit",), metavar="NAME=N"
    )
    scenario: str = option("", "The environment's scenario, where TARGET does not name one.", metavar="N")
    user: str = option("", "Whose memory it reads and writes.", metavar="NAME")
    seed: int = option(0, "Of luck and sampling.")
    conversation: str = option("", "A name of one's own: the same name goes on with the same episode.", metavar="NAME")

    def given(self) -> dict[str, Any]:
        """What was typed, by name; the rest is left to the file."""
        out: dict[str, Any] = {name: value for name in ("model", "memory") if (value := getattr(self, name))}
        if self.guard:
            out["guard"] = str(Path(self.guard).absolute())
        if self.tools:
            out["tools"] = list(self.tools)
        if self.limits:
            out["limits"] = assigned_values(self.limits, "--limit")
        if self.policy or self.sets:
            out["policy"] = {"name": self.policy or "llm", **assigned_values(self.sets)}
        return {**out, "scenario": self.scenario, "seed": self.seed, "user": self.user}
