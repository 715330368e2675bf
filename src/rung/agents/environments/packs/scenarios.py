"""Scenarios of an environment as rows of a task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

from rung.agents.environments.environment import Environment
from rung.core.system.files import write_file

Name = Literal["train", "dev", "test"]


def rows(world: Environment, counts: Mapping[str, int]) -> list[dict[str, str]]:
    """A row for each scenario: what is asked for, the scenario's name and its split."""
    return [
        {"id": f"{split}-{at + 1}", "request": world.reset(scenario).text, "scenario": scenario, "split": split}
        for split, count in counts.items()
        for at, scenario in enumerate(world.scenarios(cast(Name, split), count))
    ]


def write(world: Environment, counts: Mapping[str, int], file: Path) -> int:
    """Write the rows as JSON Lines; how many."""
    given = rows(world, counts)
    write_file(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in given).encode())
    return len(given)
