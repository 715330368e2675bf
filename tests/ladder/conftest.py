"""A small task with known answers and the rungs that a climb of it tries."""

from __future__ import annotations

import pytest

from rung.core.types import RungChoice, Task
from tests import desk


@pytest.fixture
def task() -> Task:
    names = ("rules", "linear", "zero-shot", "persona", "few-shot-knn")
    return desk.task(metrics=("accuracy", "macro-f1"), rungs=tuple(RungChoice(name) for name in names))
