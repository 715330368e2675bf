"""Who looked at a test split, when, and with which program: each look is in the store, and how many there were is told.

A test score is honest once. Who changes something after having seen it and looks again chooses by the test, and what is
chosen owes its score in part to luck (Dwork et al. 2015, doi:10.1126/science.aaa9375).
"""

from __future__ import annotations

import getpass
import logging
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from rung.core.errors import StoreError
from rung.core.types import Example, Task
from rung.ladder.measure.evaluate import example_hash
from rung.store import Store, StoredLook

logger = logging.getLogger("rung.ladder")

SKETCH = 32
"""Examples that stand for a test split: those with the smallest hashes. A part of a split (--limit) of a tenth or more
shares one of them with the whole in more than 96 of 100 cases."""
SEEN = ("climb", "optimize", "curve", "forgetting", "few-shot", "factorial", "sizes")
"""Looks at results that were not there before; the others (show, report, errors, export ...) are at results that
were."""


def sketch(hashes: Collection[str]) -> str:
    return " ".join(sorted(one[:16] for one in hashes)[:SKETCH])


@dataclass
class Test:
    """The test split of a task for whoever answers it: ``evaluate`` notes the first answer of each program in the
    store."""

    __test__ = False  # pytest collects by this name

    store: Store
    task: Task
    what: str
    run: str = ""
    hashes: frozenset[str] = field(init=False)
    _sketch: str = field(init=False)
    _noted: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.hashes = frozenset(example_hash(example) for example in self.task.test)
        self._sketch = sketch(self.hashes)
        self.run = self.run or f"{self.what}-{secrets.token_hex(4)}"

    def see(self, program: str) -> None:
        """Note that ``program`` is about to answer test examples; once a program, before the first answer."""
        if program not in self._noted:
            self._noted.add(program)
            look = StoredLook(self._sketch, self.task.name, self.task.hash, self.run, program, self.what, _who())
            self.store.looks.put(look)


def show(store: Store, examples: Sequence[Example], look: StoredLook) -> None:
    """Note that results are read again; the sketch of ``look`` is that of ``examples``. A store that cannot be written
    to costs the note, not the result."""
    try:
        store.looks.put(replace(look, sketch=sketch([example_hash(example) for example in examples]), who=_who()))
    except StoreError as error:
        logger.warning("this look at the test split was not noted: %s", error.message)


def _who() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


@dataclass(frozen=True, slots=True)
class Count:
    """The ``number``-th look at these test examples; ``new`` of ``programs`` had not answered them before; ``runs``
    looked earlier."""

    number: int
    programs: int
    new: int
    runs: tuple[str, ...]

    @property
    def warning(self) -> str:
        """A sentence for a second look with something changed, else empty."""
        if self.number < 2 or not self.new:
            return ""
        before = ", ".join(self.runs[-3:])
        return (
            f"The test examples were looked at {self.number} times, before by {before}; {self.new} of {self.programs} programs "
            "are new since. Choosing by test scores again and again makes them too good: choose on dev, or bring new test "
            "examples before a release."
        )


def count(store: Store, run: str) -> Count:
    """How often the test examples of ``run`` had been looked at when it did. A run all of whose programs had answered
    them before is no look of its own: it shows what was known. 0 for a run that looked at none."""
    events = [look for look in store.looks.all() if look.what in SEEN]
    mine = next((look.sketch for look in events if look.run == run), None)
    if mine is None:
        return Count(0, 0, 0, ())
    marks = set(mine.split())
    known: set[str] = set()
    fresh: dict[str, None] = {}
    own: dict[str, bool] = {}
    for look in events:
        if not marks & set(look.sketch.split()):
            continue
        new = look.program not in known
        known.add(look.program)
        if look.run == run:
            own.setdefault(look.program, new)
        if new and (look.run == run or not own):
            fresh[look.run] = None
    earlier = tuple(name for name in fresh if name != run)
    return Count(len(fresh), len(own), sum(own.values()), earlier)
