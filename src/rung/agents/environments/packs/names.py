"""Tasks in environments by name; what stands there is the path of a task file."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent

DESK = _FOLDER / "desk" / "task.yaml"
GRIDWORLD = _FOLDER / "gridworld" / "task.yaml"
QUEUE = _FOLDER / "queue" / "task.yaml"

PACKS: dict[str, str] = {
    "desk": "rung.agents.environments.packs.names:DESK",
    "gridworld": "rung.agents.environments.packs.names:GRIDWORLD",
    "queue": "rung.agents.environments.packs.names:QUEUE",
}
