"""Audits afterwards: the frozen sample of a run is answered and scored again, and compared with what was kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung import tasks
from rung.alignment.audit.signs import drift, read_signs
from rung.alignment.rewards.reward import Reward
from rung.alignment.runs.align import compare, questions
from rung.alignment.runs.player import case_of
from rung.core.codec import encode
from rung.core.errors import InputError
from rung.core.parts.place import within
from rung.core.protocols import Resources
from rung.core.types import Reply, Request, Sampling, Task
from rung.metrics.stats import Difference
from rung.models.adapters import adapters
from rung.tuning.work import PLACES

LOG = "audits.jsonl"


@dataclass(frozen=True, slots=True)
class Reaudit:
    """``changed`` of ``items`` answers differ from the kept ones; ``gains`` are scores now less scores of the kept
    answers, by what was measured. ``signs`` of drift in the answers themselves; ``examples``: (input, kept, now)."""

    weights: str
    items: int
    changed: int
    gains: Mapping[str, Difference]
    signs: tuple[str, ...] = ()
    examples: tuple[tuple[str, str, str], ...] = ()
    made: float = field(default_factory=time.time)

    @property
    def worse(self) -> bool:
        """Something that was measured has fallen, its whole interval."""
        return any(gain.high < 0 for gain in self.gains.values())


async def reaudit(folder: Path, resources: Resources, model: str = "") -> Reaudit:
    """Answer the frozen sample of the run in ``folder`` again (with ``model``: with another one), score it, and note
    that in the folder's audits.jsonl. Raises InputError for a folder without a finished run over a task."""
    said, kept = _read(folder)
    task = tasks.load(said["task"])
    with within(Path(task.path).parent if task.path else None):
        return await _again(folder, task, said, (kept, resources, model))


async def _again(
    folder: Path, task: Task, said: Mapping[str, Any], given: tuple[list[dict[str, Any]], Resources, str]
) -> Reaudit:
    kept, resources, model = given
    weights = model or _written(folder)
    by_id = {row["id"]: row for row in kept}
    asked = [
        question
        for question in questions(task, [*task.dev, *task.test], said["instruction"])
        if question.example.id in by_id
    ]
    if not asked:
        raise InputError(f"the task of {folder} no longer has its examples", remedy="restore the task's data")
    sampling = Sampling(max_tokens=said["max_tokens"])
    replies = await resources.model(weights).generate([Request(one.messages, sampling) for one in asked])
    old = [by_id[one.example.id]["after"] for one in asked]
    gains = {}
    for name in ("reward", "gold"):
        if said[name]:
            measured = Reward.of(said[name], resources)
            now = await measured.score([case_of(q, task.form, reply) for q, reply in zip(asked, replies, strict=True)])
            before = await measured.score(
                [case_of(q, task.form, Reply(text)) for q, text in zip(asked, old, strict=True)]
            )
            gains[name] = compare([measured.total(p) for p in now], [measured.total(p) for p in before])
    pairs = list(zip(asked, old, replies, strict=True))
    changed = [(" ".join(q.example.input.values()), text, r.text) for q, text, r in pairs if text != r.text]
    signs = drift(_signs(old), _signs([reply.text for reply in replies]))
    found = Reaudit(weights, len(asked), len(changed), gains, tuple(signs), tuple(changed[:5]))
    with (folder / LOG).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(encode(found), ensure_ascii=False) + "\n")
    return found


def _written(folder: Path) -> str:
    """The weights of a run as a model: a merged file, else the adapter beside its base. Raises InputError where none
    were written."""
    for kind in ("f16", "q8", "q4"):
        if (folder / PLACES[kind]).is_file():
            return f"openvino:{folder / PLACES[kind]}"
    adapter = folder / PLACES["adapter"]
    if not adapters.is_adapter(adapter):
        raise InputError(f"{folder} holds no weights", remedy="name some: --model openvino:FILE")
    return f"openvino:{adapters.tuned_on(adapter)[0]}@{adapter}"


def _signs(texts: Sequence[str]) -> Any:
    return read_signs(list(enumerate(texts)))


def _read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        said = json.loads((folder / "aligned.json").read_text(encoding="utf-8"))["config"]
        text = (folder / "answers.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in text.split("\n") if line]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} holds no finished alignment over a task: {error}",
            remedy="name the folder that rung align wrote to, or a task, whose reward is then probed",
        ) from None
    return said, rows
