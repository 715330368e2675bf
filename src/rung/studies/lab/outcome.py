"""What experiments with networks write: scores with intervals, and files that another program opens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rung.core.types import Interval, Score
from rung.data.rows.lines import replacing
from rung.metrics.mean import VALUES
from rung.metrics.stats import Difference, interval, paired


def mean(values: Iterable[Any]) -> Interval:
    """The mean of numbers with its interval."""
    return interval(VALUES, [Score(float(value)) for value in values])


def gain(values: Iterable[Any], before: Iterable[Any]) -> Difference:
    """The mean difference of numbers of the same items."""
    return paired(VALUES, [Score(float(value)) for value in values], [Score(float(value)) for value in before])


def saved(folder: str, name: str, data: bytes) -> tuple[str, ...]:
    """Write a file into ``folder``, whole or not at all; its path, or nothing where no folder is named. Raises
    InputError for a place that cannot be written, or a full disk."""
    if not folder:
        return ()
    path = Path(folder) / name
    with replacing(path) as out:
        out.write(data)
    return (str(path),)
