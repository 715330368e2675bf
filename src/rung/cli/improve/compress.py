"""``rung compress``: make a model, or the model of a program, smaller, and see what it costs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rung.compression.rungs import METHODS
from rung.core.parts.option import argument, option

if TYPE_CHECKING:
    from rung.cli.improve.tune import Line
    from rung.compression.job import Compressed, Plan
    from rung.core.protocols import Resources
    from rung.core.settings import Settings
    from rung.core.types import Task
    from rung.prompts.program import PromptProgram
    from rung.tuning.work import Lessons


@dataclass(frozen=True)
class CompressOptions:
    """What is made smaller, how, and what it is judged by."""

    source: str = argument(
        "A model of the embedded engine (a name or a GGUF file), or a program folder with weights.", "MODEL|PROGRAM"
    )
    method: tuple[str, ...] = option(
        (),
        f"f16, {', '.join(METHODS[:-1])} or {METHODS[-1]}; may be repeated (default: int8 and int4).",
        metavar="METHOD",
    )
    task: str = option(
        "", "A task: its train split is learnt and calibrated on, its test split answered.", metavar="TASK"
    )
    calibrate: tuple[Path, ...] = option(
        (), "A text to learn and calibrate on in the place of a task's rows.", metavar="FILE"
    )
    text: Path | None = option(None, "Another text: the loss a token is measured on it.", metavar="FILE")
    bits: int = option(0, "Bits of the file's matrices, for all methods: 16, 8 or 4.", low=0)
    layers: float = option(0.0, "Share of the layers to take out.", low=0, high=1)
    heads: float = option(0.0, "Share of the groups of heads to take out.", low=0, high=1)
    channels: float = option(0.0, "Share of the feed-forward channels to take out.", low=0, high=1)
    sparse: str = option("", "Zeros: a share, or 2:4.", metavar="SHARE|2:4")
    teach: str = option("", "What is learnt behind it: none, labels, teacher or answers.", metavar="WHAT")
    steps: int = option(0, "Steps of that training.", low=0)
    activations: int = option(0, "Also simulate activations of so many bits, naive and calibrated.", low=0, high=8)
    out: Path = option(Path("compressed"), "Where the files go, a folder for each method.", metavar="DIR")
    quiet: bool = option(False, "Show no progress.", flags=("-q", "--quiet"))


def compress(asked: CompressOptions) -> None:
    """Make a model smaller by one method or several, check each file, and print quality, size, memory, speed and CPU
    seconds.

    Ctrl-C stops; the same command goes on.
    """
    import asyncio

    from rich.console import Console

    from rung import tasks
    from rung.cli.improve.tune import Line
    from rung.core.settings import Settings
    from rung.models import Pool

    settings = Settings()
    plans = _plans(asked)
    task = tasks.load(asked.task) if asked.task else None
    line = Line(Console(stderr=True, quiet=asked.quiet))
    pool = Pool(settings)
    try:
        program = _program(asked.source, task, pool)
        lessons = _lessons(asked, task, program)
        places, notes = [_place(asked.source, program)], dict[str, None]()
        for name, plan in plans.items():
            done = _make(asked, program, lessons, plan, name, line)
            typer.echo(_tell(name, done))
            notes |= dict.fromkeys(done.notes)
            places.append(str(_keep(asked.out / name, done, program, pool) if task else done.file))
    finally:
        asyncio.run(pool.close())
    for note in notes:
        typer.echo(f"note: {note}")
    if asked.activations:
        typer.echo(_activations(asked, program, lessons, settings))
    if task or asked.text:
        _report(asked, places, settings, line)


def _plans(asked: CompressOptions) -> dict[str, Plan]:
    """The plans by name. Raises InputError for an unknown one, or a plan that cannot be."""
    from rung.compression.job import PLANS
    from rung.core.errors import InputError
    from rung.core.parts.problem import nearest

    plans = {}
    for name in asked.method or ("int8", "int4"):
        if name not in PLANS:
            raise InputError(f"unknown method {name!r}", remedy=nearest(name, PLANS), code="plan")
        changed = {
            key: value
            for key in ("bits", "layers", "heads", "channels", "sparse", "teach", "steps")
            if (value := getattr(asked, key))
        }
        plans[name] = replace(PLANS[name], **changed)
        plans[name].validate()
    return plans


def _program(source: str, task: Task | None, pool: Resources) -> PromptProgram:
    """The program that is made smaller: a folder's, or the task's plain prompt asked of a model."""
    from rung.core.errors import InputError
    from rung.core.parts import program as programs
    from rung.prompts.program import Options, PromptProgram
    from rung.prompts.template.prompt import Prompt

    if Path(source).is_dir():
        found = programs.load(Path(source), pool)
        if not isinstance(found, PromptProgram) or not isinstance(found.prompt, Prompt):
            raise InputError(
                f"{source} is no program of one prompt", remedy="export a tuned rung: rung export RUN DIR", code="model"
            )
        return found
    name = source if source.startswith("openvino:") else f"openvino:{source}"
    return PromptProgram(
        Prompt.of(task) if task else Prompt(), pool.model(name), Options.of(task) if task else Options()
    )


def _place(source: str, program: PromptProgram) -> str:
    return source if Path(source).is_dir() else program.model.name


def _lessons(asked: CompressOptions, task: Task | None, program: PromptProgram) -> Lessons:
    """What is calibrated on and learnt. Raises InputError without any, or when it is what the result is judged by."""
    from rung.compression.calibration import demand_apart
    from rung.compression.rung import DEV_ROWS
    from rung.core.errors import InputError
    from rung.prompts.template.prompt import Prompt
    from rung.tuning.tune import teach
    from rung.tuning.work import Lessons

    texts = [(path.name, _read(path)) for path in asked.calibrate]
    demand_apart(task, [text for _, text in texts], [_read(asked.text)] if asked.text else [])
    if texts:
        pieces = [(f"{name}:{at}", text[at : at + 2000]) for name, text in texts for at in range(0, len(text), 2000)]
        pieces = [(name, piece) for name, piece in pieces if piece.strip()]
        held = pieces[9::10][:16]
        return Lessons(texts=[one for one in pieces if one not in held], dev_texts=held)
    if task is None or not task.train:
        raise InputError(
            "there is nothing to calibrate on",
            remedy="give a task with a train split (--task TASK), or a text (--calibrate FILE)",
            code="calibration",
        )
    assert isinstance(program.prompt, Prompt)
    train, dev = teach(program.prompt, task)
    return Lessons(train, dev[:DEV_ROWS])


def _read(path: Path) -> str:
    """A text's words. Raises InputError for a file that is not there."""
    from rung.documents import read, scan

    return "\n".join(document.text for source in scan([path]) for document in read(source))


def _make(
    asked: CompressOptions, program: PromptProgram, lessons: Lessons, plan: Plan, name: str, line: Line
) -> Compressed:
    from rung.cli.improve.tune import answering_signals
    from rung.compression.job import compress as work
    from rung.compression.job import find_source
    from rung.core.settings import Settings
    from rung.tuning.trainer.state import Watch

    source = find_source(program.model.name, Settings().cache)

    def begin(stop: threading.Event) -> Compressed:
        return work(source, lessons, plan, asked.out / name, Watch(progress=line, stop=stop))

    return answering_signals(begin, line)


def _keep(folder: Path, done: Compressed, program: PromptProgram, pool: Resources) -> Path:
    """The program over the smaller weights, as a folder beside them that shares their bytes."""
    from rung.core.parts import program as programs
    from rung.prompts.program import PromptProgram

    weights = Path(done.file)
    made = PromptProgram(program.prompt, pool.model(f"openvino:{weights}"), program.options, program.selector, weights)
    return programs.save(made, folder / "program", link=True)


def _tell(name: str, done: Compressed) -> str:
    said = [f"{name}: {done.file} ({done.size / 1e6:.0f} MB, {done.calibration:,} tokens calibrated)"]
    said += [f"  left: {done.kept}"] if done.kept else []
    said += (
        [f"  zeros: {done.zeros:.1%} of its matrices; stored densely, so neither smaller nor faster here"]
        if done.zeros
        else []
    )
    if done.trained is not None:
        one = done.trained
        dev = f", dev {one.checks[0].loss:.4f} -> {one.best.loss:.4f}" if one.best else ""
        said.append(
            f"  {one.step} steps, {one.tokens:,} tokens, {one.cpu_seconds:.0f} CPU s: {one.losses[0]:.4f} -> {one.losses[-1]:.4f}{dev}"
        )
    return "\n".join([*said, f"  parity {done.parity}"])


def _activations(asked: CompressOptions, program: PromptProgram, lessons: Lessons, settings: Settings) -> str:
    from rung.compression.activations import compare
    from rung.compression.job import find_source

    return compare(find_source(program.model.name, settings.cache).base, lessons, asked.activations)


def _report(asked: CompressOptions, places: list[str], settings: Settings, line: Line) -> None:
    from rung.cli.task.study import conduct
    from rung.studies.models.sizes import Sizes

    study = Sizes(tuple(places), asked.task, str(asked.text or ""))
    typer.echo("")
    conduct(study, lambda _: (None, None), settings, study.table, line)
