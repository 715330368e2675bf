"""A small task with known answers and everything that a climb of it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.core.settings import Settings
from rung.core.types import Example, Form, RungChoice, Task
from rung.models import Pool
from rung.store import Store, open_store

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
]


def examples(start: int, stop: int) -> tuple[Example, ...]:
    return tuple(
        Example(f"{label}-{thing}", {"text": WORDS[label].format(thing)}, label)
        for thing in THINGS[start:stop]
        for label in LABELS
    )


@pytest.fixture
def task() -> Task:
    return Task(
        name="desk",
        instruction="Say the intent.",
        form=Form("labels", labels=LABELS),
        fields=("text",),
        train=examples(0, 8),
        dev=examples(8, 11),
        test=examples(11, 22),
        metrics=("accuracy", "macro-f1"),
        hash="task-hash",
        models=("fake:echo",),
        rungs=tuple(RungChoice(name) for name in ("rules", "linear", "zero-shot", "persona", "few-shot-knn")),
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"home": str(tmp_path / "home"), "store": f"sqlite:///{tmp_path / 'rung.db'}"})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings.store_url) as opened:
        yield opened


@pytest.fixture
def pool(settings: Settings) -> Pool:
    return Pool(settings, default="fake:echo")
