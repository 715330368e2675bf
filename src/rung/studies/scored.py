"""Which version of each prompt was scored last: read off the runs that climbed the rung ``template``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rung.core.codec import decode
from rung.core.types import Interval
from rung.ladder.records import RungRecord
from rung.store import Store


@dataclass(frozen=True, slots=True)
class Scored:
    """A prompt as a run scored it: ``hash`` covers its roots as they were then; ``value`` is in units of ``metric``."""

    run: str
    task: str
    hash: str
    metric: str
    value: Interval
    started: float


def scored_prompts(store: Store, *, limit: int = 200) -> dict[str, Scored]:
    """The newest score of each prompt, by the prompt's name, among the newest ``limit`` runs. Programs that were
    removed from the project's folder are passed over."""
    found: dict[str, Scored] = {}
    for run in store.runs.newest(limit):
        for row in store.runs.rungs(run.id):
            record = decode(RungRecord, json.loads(row.payload))
            if record.name != "template" or not record.metrics:
                continue
            template = _template(Path(record.folder))
            name = str(template.get("name", ""))
            if name and name not in found:
                metric = next(iter(record.metrics))
                hash = str(template.get("origin", ""))
                found[name] = Scored(run.id, run.task, hash, metric, record.metrics[metric], run.started)
    return found


def _template(folder: Path) -> dict[str, object]:
    try:
        spec = json.loads((folder / "program.json").read_text(encoding="utf-8"))["spec"]
        return dict(spec.get("template") or {})
    except (OSError, ValueError, KeyError, TypeError):
        return {}
