"""``rung align``: optimise a model for a reward, or for what people prefer, from a configuration file."""

from __future__ import annotations

import json as codec
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rung.cli.base.options import assigned_values
from rung.cli.improve.align.elsewhere import (
    WEIGHTS,
    Elsewhere,
    WrittenWeights,
    check_places,
    compare_elsewhere,
    echo_elsewhere,
    items_option,
    load_elsewhere,
    record_elsewhere,
)
from rung.core.parts.option import argument, option
from rung.core.text.columns import align as columns

if TYPE_CHECKING:
    from rung.alignment.runs.align import AlignmentResult
    from rung.alignment.runs.config import AlignConfig
    from rung.alignment.runs.course import Update
    from rung.cli.improve.tune import Line


@dataclass(frozen=True)
class AlignOptions:
    """What is aligned, and what is said of it."""

    config: Path | None = argument("An align.yaml.", "CONFIG", default=None)
    change: tuple[str, ...] = option((), "A setting that wins over the file's.", flags=("--set",), metavar="KEY=VALUE")
    methods: str = option("", "Run the file by each of these methods, and print one table.", metavar="A,B")
    table: tuple[Path, ...] = option(
        (), "Only print the table of finished runs; may be repeated.", flags=("--table",), metavar="FOLDER"
    )
    elsewhere: int | None = items_option()
    json: bool = option(False, "Print JSON.")
    quiet: bool = option(False, "Show no progress.", flags=("-q", "--quiet"))


def align(asked: AlignOptions) -> None:
    """Align a model: by a reward that programs check or a model has learnt (reinforce, rloo, grpo, ppo, trpo), or by
    pairs (dpo). Then compare it with what it was on sets that it did not learn from.

    Ctrl-C stops behind the update under way; the same command then goes on, to the same numbers.
    """
    from rich.console import Console

    from rung.alignment.runs.config import read
    from rung.cli.improve.tune import Line
    from rung.core.errors import InputError

    if asked.table:
        _show([AlignedRun(load(folder), folder, load_elsewhere(folder)) for folder in asked.table], asked.json)
        return
    if asked.config is None:
        raise InputError("there is nothing to align", remedy="type: rung align align.yaml")
    plan = read(asked.config, assigned_values(asked.change))
    check_places(plan.general)
    line = Line(Console(stderr=True, quiet=asked.quiet))
    if plan.pairs:
        from rung.alignment.rewards.pairs import read_pairs
        from rung.cli.improve.align.people.feedback import check_said
        from rung.core.settings import Settings

        check_said(read_pairs(plan.pairs), Settings())
    plans = [plan.named(name.strip()) for name in asked.methods.split(",")] if asked.methods else [plan]
    found = []
    for one in plans:
        done = run(one, line)
        if not asked.methods and not asked.json:
            typer.echo(tell(done, one))  # before anything else is begun: it is done, whatever comes
        found.append(AlignedRun(done, one.out, compare_elsewhere(_trained(one, done), asked.elsewhere, line)))
    if asked.methods or asked.json:
        _show(found, asked.json)
    else:
        echo_elsewhere(found[0].elsewhere)
    if any(one.result.course.flagged for one in found):
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class AlignedRun:
    """A finished run, where it lies, and what it did elsewhere."""

    result: AlignmentResult
    out: Path
    elsewhere: Elsewhere | None


def _trained(plan: AlignConfig, done: AlignmentResult) -> WrittenWeights:
    from rung.core.settings import Settings

    files = {kind: path for kind, path in done.files.items() if kind in WEIGHTS}  # a table of states is no model
    return WrittenWeights(plan.out, plan.model or Settings()["model"], files, plan.task, plan.general)


def _show(found: Sequence[AlignedRun], json: bool) -> None:
    """Finished runs as one table, or as JSON, with what each did elsewhere."""
    from rung.core.codec import encode

    if json:
        rows = [{"out": str(o.out), **encode(o.result), **record_elsewhere(o.elsewhere)} for o in found]
        typer.echo(codec.dumps(rows, indent=1, ensure_ascii=False))
        return
    typer.echo("\n".join(["", compare([one.result for one in found])]))
    for one in found:
        echo_elsewhere(one.elsewhere, one.result.method)


def run(plan: AlignConfig, line: Line) -> AlignmentResult:
    """One alignment in a thread of its own, while this one answers signals and keeps talking."""
    import asyncio

    from rung.alignment.runs.align import align as work
    from rung.alignment.runs.course import Spectator
    from rung.cli.improve.tune import answering_signals
    from rung.core.settings import Settings
    from rung.models import Pool
    from rung.tuning.trainer.curves import Curves

    settings = Settings()
    pool = Pool(settings, default=plan.model or None)
    with Curves(plan.out, plan.tensorboard) as curves:

        def record(update: Update) -> None:
            curves.write(update.point())

        def begin(stop: threading.Event) -> AlignmentResult:
            return work(plan, pool, settings, Spectator(line, record, stop))

        try:
            return answering_signals(begin, line)
        finally:
            asyncio.run(pool.close())


def load(folder: Path) -> AlignmentResult:
    """A finished run. Raises InputError for a folder that holds none."""
    from rung.alignment.runs.align import AlignmentResult
    from rung.core.codec import decode
    from rung.core.errors import InputError

    try:
        return decode(AlignmentResult, codec.loads((folder / "aligned.json").read_text(encoding="utf-8"))["aligned"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no finished alignment: {error}", remedy="name the folder that rung align wrote to"
        ) from None


def tell(done: AlignmentResult, plan: AlignConfig) -> str:
    """What a run did, as text."""
    from rung.alignment.runs.course import lines
    from rung.ladder.view.numbers import change

    course = done.course
    out = [
        *done.notes,
        "",
        columns(lines(course.updates)),
        "",
        f"{course.step} of {course.total} updates: {course.stopped}",
    ]
    for name, gain in done.gains.items():
        word = "no difference" if gain.none else "better" if gain.value > 0 else "worse"
        was, win = done.before[name], done.wins.get(name)
        out.append(f"{name:7} {was:.3f} -> {was + gain.value:.3f}: {change(gain)} over {gain.n} {word}")
        if win is not None:
            out.append(
                f"        better in {win.value:.0%} [{win.low:.0%}, {win.high:.0%}] of those that are not as good as before"
            )
    out += [
        f"held-out pairs: {judged.accuracy:.0%} right, margin {judged.margin:+.2f} nats, chosen {judged.chosen:+.2f}"
        for judged in done.judged
    ]
    if any(done.length):
        out.append(f"length  {done.length[0]:.1f} -> {done.length[1]:.1f} tokens; KL {done.kl:.4f} nats an action")
    if (plan.out / "audit.json").is_file():
        said = codec.loads((plan.out / "audit.json").read_text(encoding="utf-8"))
        out += [f"sign: {sign}" for sign in said["signs"]]
        if not said["audited"]:
            out.append("not audited: nothing is wished for beside the reward (gold: METRIC)")
        if said["stopped"]:
            out += [
                "what was rewarded best:",
                *(f"  {one['reward']:.3f}  {one['answer'][:100]!r}" for one in said["best rewarded"]),
            ]
    return "\n".join([*out, *(f"{kind:8} {path}" for kind, path in done.files.items())])


def compare(runs: Sequence[AlignmentResult]) -> str:
    """All runs in one table."""
    from rung.ladder.view.numbers import change

    rows = [["method", "reward", "gain", "gold", "KL", "entropy", "length", "updates", "tokens", "CPU s", "ended"]]
    for one in runs:
        first, last = one.course.updates[0], one.course.updates[-1]
        gains = {"gold" if name == "gold" else "gain": change(gain) for name, gain in one.gains.items()}
        used = one.course.usage
        rows.append(
            [
                one.method,
                f"{first.reward:.3f} -> {last.reward:.3f}",
                gains.get("gain", ""),
                gains.get("gold", ""),
                f"{one.kl:.4f}",
                f"{first.entropy:.2f} -> {last.entropy:.2f}",
                f"{first.length:.0f} -> {last.length:.0f}",
                str(one.course.step),
                f"{used.completion_tokens:,}",
                f"{used.cpu_seconds:.0f}",
                "flagged" if one.course.flagged else "done",
            ]
        )
    return columns(rows)
