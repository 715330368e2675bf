"""What a training did elsewhere: the weights before and after it on sets that it did not learn from, in pairs.

The comparison is the study ``forgetting``; here is what it is asked about behind ``rung align`` and ``rung tune``, and
how what it found is kept beside the weights and said.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rung.core.codec import decode, encode
from rung.core.errors import InputError, RungError
from rung.core.parts.option import option
from rung.core.settings import Settings
from rung.core.system.files import write_file
from rung.core.text.columns import fold

if TYPE_CHECKING:
    from rung.cli.improve.tune import Line
    from rung.studies.models.forgetting import Forgetting, Retention

SETS = ("plain-requests", "support-intent", "python-stdlib")
"""What every rung has with it: instructions of IFEval's kinds, a choice of labels, plain text."""
ITEMS = 30
"""Items of each of SETS."""
FEW = 8
"""The same where transformers must answer, as for modules that the engine has not: it takes several times as long."""
NAMED = 100
"""Items of each set that the user has named, or of a kind of its rows."""
LACKING = "telling languages needs pip install 'rung[text]'"
FILE = "elsewhere.json"
WEIGHTS = ("adapter", "f16", "q8", "folder", "q4", "openvino")
"""Which of the written files is compared: an adapter beside its base is exactly what was trained, and costs no second
load."""


def items_option() -> Any:
    """The option of a command that compares."""
    help = f"Compare the weights before and after on N items of each set that was not learnt from; 0: do not. Default: {ITEMS}."
    return option(None, help, flags=("--elsewhere",), metavar="N", low=0)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The rows of the comparison, how many items a set it was asked for, and what it took. ``missing``: why there are
    no rows, or which set is not among them."""

    before: str
    after: str
    items: int
    rows: tuple[Retention, ...] = ()
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    missing: str = ""


@dataclass(frozen=True, slots=True)
class WrittenWeights:
    """Weights that a command wrote: by kind of file, in ``out``, from the base ``model``, having learnt from the task
    ``task`` (none: ""). ``named``: sets that the user wants them compared on, in place of SETS."""

    out: Path
    model: str
    files: Mapping[str, str]
    task: str = ""
    named: Sequence[str] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """The sets that nothing was learnt from, and that can be measured here."""
        usable = [name for name in SETS if name != SETS[0] or find_spec("py3langid")]
        return tuple(self.named) or tuple(name for name in usable if not _same(name, self.task))

    @property
    def pair(self) -> tuple[str, str]:
        """The weights before and after as models, both read by the same engine. Raises InputError where nothing was
        written that can be compared."""
        from rung.models.adapters.lora import read
        from rung.tuning.weights import find_base

        base = find_base(self.model, Settings().cache)
        plain = self.model.partition(":")[2] if self.model.startswith(("openvino:", "transformers:")) else self.model
        for kind in (kind for kind in WEIGHTS if kind in self.files):
            path = self.files[kind]
            if kind == "adapter" and base.gguf is not None:
                try:
                    read(Path(path))
                except RungError:  # bottleneck modules, virtual tokens, DoRA: only transformers has them
                    return f"transformers:{plain}", f"transformers:{path}"
                return f"openvino:{plain}", f"openvino:{plain}@{path}"
            if kind in ("adapter", "folder") or base.gguf is None:
                return f"transformers:{plain}", f"transformers:{path}"
            return f"openvino:{plain}", f"openvino:{path}"
        raise InputError("no weights were written", remedy="name an export: [adapter]")


def _same(pack: str, task: str) -> bool:
    """Whether a task is a pack, by its name or by its file."""
    from rung import tasks

    return bool(task) and (task == pack or (pack != SETS[-1] and Path(task).resolve() == tasks.locate(pack).resolve()))


def check_places(named: Sequence[str]) -> None:
    """Before hours are spent: raises InputError for a set that is not there."""
    from rung import tasks

    for place in named:
        if Path(place).suffix.lower() in (".txt", ".md", ".rst", ".jsonl", ".ndjson"):
            if not Path(place).is_file():
                raise InputError(f"general: there is no {place}", remedy="correct the path")
        elif place != SETS[-1]:
            tasks.locate(place)


def compare_elsewhere(trained: WrittenWeights, items: int | None, line: Line) -> Elsewhere | None:
    """Compare, keep it beside the weights, and give it back; None: nobody asked (0 items), or there is nothing to
    compare. What goes wrong is said in place of the rows, as the weights are whole without them. Ctrl-C ends the
    process: the same command goes on with what was answered."""
    from rung.cli.improve.tune import answering_signals
    from rung.studies.models.forgetting import Forgetting

    if items == 0 or not trained.files or not trained.places:
        return None
    count = items or (NAMED if trained.named else ITEMS)
    began, used = time.monotonic(), time.process_time()
    try:
        before, after = trained.pair
        if not items and not trained.named and before.startswith("transformers:"):
            count = FEW
        study = Forgetting(before, after, trained.places, count)
        rows = answering_signals(lambda stop: _conduct(study, line, stop), line)
    except RungError as error:
        found = Elsewhere(trained.model, str(trained.out), count, missing=error.message)
    else:
        spent = time.monotonic() - began, time.process_time() - used
        lacking = "" if trained.named or find_spec("py3langid") else f"{SETS[0]} is left out: {LACKING}"
        found = Elsewhere(before, after, count, tuple(rows), round(spent[0], 1), round(spent[1], 1), lacking)
    write_file(trained.out / FILE, json.dumps(encode(found), indent=1).encode())
    return found


def _conduct(study: Forgetting, line: Line, stop: threading.Event) -> list[Retention]:
    """The study in a thread of its own, until it is told to stop."""
    import asyncio

    from rung.models import Pool
    from rung.store import open_store
    from rung.studies.study import Lab

    settings = Settings()

    async def work() -> list[Retention]:
        with open_store(settings.store_url) as store:
            async with Pool(settings, default=study.before) as pool:
                task = asyncio.create_task(study.run(None, Lab(settings, pool, store, line)))
                while not task.done():
                    await asyncio.wait([task], timeout=0.2)
                    if stop.is_set():
                        task.cancel()
                return await task

    return asyncio.run(work())


def load_elsewhere(folder: Path) -> Elsewhere | None:
    """What was kept beside some weights; None: nothing."""
    from rung.studies.models.forgetting import Retention

    try:
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Elsewhere(**{**kept, "rows": decode(tuple[Retention, ...], kept.get("rows", []))})
    except (OSError, ValueError, TypeError):
        return None


def tell_elsewhere(found: Elsewhere | None, name: str = "") -> str:
    """The comparison as text, behind an empty line; nothing where there is none."""
    from rung.studies.models.forgetting import Forgetting

    if found is None:
        return ""
    title = f"\nElsewhere{f', {name}' if name else ''}: what was not learnt from, with the weights before and after"
    if not found.rows:
        return f"{title}\nnot measured: {found.missing}"
    table = Forgetting(found.before, found.after, ()).table(list(found.rows))
    cost = f"({found.seconds:.0f} s, {found.cpu_seconds:.0f} CPU s; --elsewhere N: items of a set, 0: none)"
    return f"{title}\n{fold(f'{table} {cost}')}" + (f"\n{found.missing}" if found.missing else "")


def record_elsewhere(found: Elsewhere | None) -> dict[str, Any]:
    """The comparison for --json, each row with its verdict; empty: there is none."""
    if found is None:
        return {}
    rows = [{**encode(row), "word": row.word} for row in found.rows]
    return {"elsewhere": {**encode(found), "rows": rows}}


def echo_elsewhere(found: Elsewhere | None, name: str = "") -> None:
    """Print it, if there is any."""
    if found is not None:
        typer.echo(tell_elsewhere(found, name))
