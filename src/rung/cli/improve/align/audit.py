"""``rung audit``: look for holes in a reward, or look again at what an alignment has made."""

from __future__ import annotations

import asyncio
import json as codec
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json
from rung.core.parts.option import option
from rung.core.parts.place import beside
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.models import Pool

if TYPE_CHECKING:
    from rung.alignment.audit.frozen import Reaudit
    from rung.alignment.audit.rehearsal import Rehearsal
    from rung.alignment.audit.stock import Holes
    from rung.core.types import Interval, Task


@dataclass(frozen=True)
class Auditing:
    """What is looked for, and with what."""

    reward: tuple[str, ...] = option(
        (), "Probe this reward, not the task's first metric; may be repeated.", metavar="METRIC"
    )
    mark: float = option(0.5, "The reward from which an answer counts as passed.", flags=("--pass",))
    limit: float = option(0.05, "Share of stock answers that may pass.", low=0, high=1)
    model: str = option("", "Answer the frozen sample with this one.", flags=("-m", "--model"), metavar="MODEL")
    cron: str = option("", "Print the line for crontab, such as '0 3 * * *'.", metavar="SCHEDULE")


def audit(
    what: Annotated[
        str, typer.Argument(metavar="TASK|FOLDER", help="A task, the folder of an alignment, or the word rehearsal.")
    ],
    how: Auditing,
    json: Json = False,
) -> None:
    """Probe a task's reward with answers that nobody wants, or answer and score the frozen sample of an alignment
    again. ``rehearsal``: let a table learn a planted reward that can be cheated, under the auditor and each defence,
    and honest ones.

    Exit code 1 when stock answers pass, or when what is measured has fallen.
    """
    if how.cron:
        model = ["--model", how.model] if how.model else []
        command = shlex.join([sys.argv[0], "audit", str(Path(what).resolve()), *model])
        typer.echo(f"{how.cron} cd {shlex.quote(str(Path.cwd()))} && {command} >> audits.log 2>&1")
        return
    if what == "rehearsal":
        from rung.alignment.audit.rehearsal import rehearse

        played = rehearse()
        typer.echo(codec.dumps(_plain(played), indent=2) if json else _rehearsed(played))
        return
    folder = Path(what)
    if (folder / "aligned.json").is_file():
        found = asyncio.run(_again(folder, how.model))
        typer.echo(codec.dumps(_plain(found), indent=2, ensure_ascii=False) if json else _told(found))
        if found.worse:
            raise typer.Exit(1)
        return
    holes = asyncio.run(_probe(what, how.reward, how.mark))
    typer.echo(codec.dumps(_plain(holes), indent=2, ensure_ascii=False) if json else _table(holes, how.limit))
    if holes.worse(how.limit):
        raise typer.Exit(1)


async def _again(folder: Path, model: str) -> Reaudit:
    from rung.alignment.audit.frozen import reaudit

    async with Pool(Settings()) as pool:
        return await reaudit(folder, pool, model)


async def _probe(task: str, reward: Sequence[str], mark: float) -> Holes:
    from rung import tasks

    loaded = tasks.load(task)
    names = list(reward) or [loaded.metrics[0]]
    with beside(loaded, Settings()):
        return await _probe_within(loaded, names, mark)


async def _probe_within(loaded: Task, names: list[str], mark: float) -> Holes:
    from rung.alignment.audit.stock import probe
    from rung.alignment.rewards.reward import Reward

    async with Pool(Settings(), default=next(iter(loaded.models), None)) as pool:
        return await probe(loaded, Reward.of({name: 1 / len(names) for name in names}, pool), mark=mark)


def _rehearsed(found: Rehearsal) -> str:
    from rung.ladder.view.numbers import change

    def share(rate: Interval) -> str:
        return f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]"

    lines = [
        f"planted reward: stopped in {share(found.stopped)} of {found.runs} runs, behind update {found.delay:g} (median)",
        f"honest reward: stopped in {share(found.false)} of {found.runs} runs",
        "",
    ]
    rows = [["defence", "reward", "worth", "gap", "gap against none"]]
    rows += [
        [
            one.defence,
            f"{one.reward:+.3f}",
            f"{one.worth:+.3f}",
            f"{one.gap:+.3f}",
            change(one.change) if one.change else "",
        ]
        for one in found.defences
    ]
    return "\n".join([*lines, align(rows)])


def _plain(found: Reaudit | Holes | Rehearsal) -> object:
    from rung.core.codec import encode

    return encode(found)


def _table(holes: Holes, limit: float) -> str:
    from rung.alignment.audit.stock import rows

    lines = [f"{holes.items} examples; an answer passes from a reward of {holes.mark:g} on", "", align(rows(holes))]
    lines += [
        f"hole: {hole.what} passes in {hole.passed.value:.0%}, for example {hole.example!r}"
        for hole in holes.worse(limit)
    ]
    return "\n".join(lines if len(lines) > 3 else [*lines, "no hole found"])


def _told(found: Reaudit) -> str:
    from rung.ladder.view.numbers import change

    lines = [f"{found.changed} of {found.items} answers of {found.weights} differ from what was kept"]
    for name, gain in found.gains.items():
        word = "no difference" if gain.none else "better" if gain.value > 0 else "worse"
        lines.append(f"{name:7} {change(gain)} {word}")
    lines += [f"sign: {sign}" for sign in found.signs]
    for asked, before, now in found.examples:
        lines.append(f"  {asked[:60]!r}: {before[:60]!r} -> {now[:60]!r}")
    return "\n".join(lines)
