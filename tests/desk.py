"""The small task of the tests: three intents of a shop's customers, whose words give the answer away."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

from rung.core.types import Example, ResponseFormat, RungChoice, Task

LABELS = ("parcel", "refund", "login")
WORDS = {
    "parcel": "where is my parcel with the {} in it",
    "refund": "please refund the money for the {}",
    "login": "I cannot login to see the {}",
}
THINGS = [
    "tent",
    "lamp",
    "stove",
    "rope",
    "boot",
    "sock",
    "hat",
    "knife",
    "cup",
    "pot",
    "map",
    "bag",
    "axe",
    "net",
    "oar",
    "sled",
    "ski",
    "mat",
    "rug",
    "box",
    "jar",
    "fan",
    "saw",
    "peg",
    "tin",
]


def examples(start: int, stop: int) -> tuple[Example, ...]:
    """For each of those things one example of each label."""
    return tuple(
        Example(f"{label}-{thing}", {"text": WORDS[label].format(thing)}, label)
        for thing in THINGS[start:stop]
        for label in LABELS
    )


def task(**changes: Any) -> Task:
    """24 training, 9 dev and 33 test examples, for the fake model; ``changes`` are fields of Task."""
    base = Task(
        name="desk",
        instruction="Say the intent.",
        form=ResponseFormat("labels", labels=LABELS),
        fields=("text",),
        train=examples(0, 8),
        dev=examples(8, 11),
        test=examples(11, 22),
        metrics=("accuracy",),
        hash="task-hash",
        models=("fake:echo",),
        rungs=(RungChoice("zero-shot"),),
    )
    return replace(base, **changes)


def write(folder: Path, *, rungs: str = "[zero-shot]", before: tuple[str, ...] = ("",)) -> Path:
    """The same task as a file with its rows, texts beginning with each of ``before`` in turn. Returns the task file."""
    rows = [
        f"{said}{example.input['text']},{example.reference}"
        for said, example in zip(cycle(before), examples(0, len(THINGS)), strict=False)
    ]
    (folder / "rows.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (folder / "task.yaml").write_text(
        "name: desk\ninstruction: Say the intent.\ndata: rows.csv\ncolumns: {input: text, reference: label}\n"
        f"answer: {{labels: [{', '.join(LABELS)}]}}\nmetrics: [accuracy]\npersona: a clerk\n"
        f"split: {{train: 0.4, dev: 0.4, test: 0.2}}\nrungs: {rungs}\n"
    )
    return folder / "task.yaml"
