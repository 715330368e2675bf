"""``rung cycle``: from served answers to a retrained, compared, approved and served version; ``rung lineage``: and back
again."""

from __future__ import annotations

import asyncio
import json as codec
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rung.cli.base.options import Json, StoreUrl
from rung.core.parts.option import option
from rung.core.settings import Settings
from rung.core.text.columns import align
from rung.store import Store, open_store

if TYPE_CHECKING:
    from rung.serving.work.cycle import CycleState
    from rung.serving.work.lineage import Version

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the versions are.")]


@dataclass(frozen=True)
class Cycling:
    """What a cycle is begun with; later it is known."""

    task: str = option("", "The task that is served.", metavar="TASK")
    rung: str = option("", "The rung that is fitted for each version (default: linear).", flags=("--rung", "-r"))
    served: str = option("", "Learn from answers of this model id alone.", metavar="MODEL")
    loss: float | None = option(
        None,
        "By how much a version may be worse on the test examples, its whole interval (default: 0.05).",
        low=0,
        high=1,
    )
    author: tuple[str, ...] = option((), "Who may not approve (default: the machine's user).", metavar="NAME")


def cycle(folder: Folder, how: Cycling, json: Json = False, store: StoreUrl = None) -> None:
    """Go on with a cycle: collect what people said of served answers, fit, compare with what is served, wait for
    approval, serve.

    The same command goes on after each stage, also when it was killed. Exit code 1 while a person is waited for.
    """
    from rung.core.codec import encode
    from rung.serving.work.cycle import Cycle, open_cycle

    given = {"task": how.task, "rung": how.rung, "served": how.served, "loss": how.loss, "authors": how.author}
    settings = Settings({"store": store})
    with open_store(settings.store_url) as opened:
        plan = open_cycle(folder, given)
        work = Cycle(folder, plan, opened, settings, lambda text: typer.echo(text, err=True))
        state = asyncio.run(work.advance())
    typer.echo(codec.dumps(encode(state), indent=2, ensure_ascii=False) if json else tell(state, folder))
    if not state.served or state.note:
        raise typer.Exit(1)


def tell(state: CycleState, folder: Path) -> str:
    """Where a cycle is, as text."""
    from rung.cli.improve.align.life.release import tell as clearance
    from rung.ladder.view.numbers import change

    if state.note:
        return "\n".join([*state.problems, f"version {state.number} is served; {state.note}"])
    out = [*state.problems, f"version {state.number}: {state.lessons} lessons of served answers"]
    if (found := state.comparison) is not None:
        out.append(f"{found.metric} against what is served: {change(found.test)} on {found.n[0]} test examples")
        if found.fresh is not None:
            out.append(f"{found.metric} against what is served: {change(found.fresh)} on {found.n[1]} lessons held out")
    if state.clearance is not None:
        out += ["", clearance(state.clearance)]
    at = folder / str(state.number)
    if state.served:
        out.append(f"serve it: rung serve NAME={folder / 'current'} --record")
    else:
        out.append(f"approve it: rung release approve {at / 'program'} --guidelines {at / 'release.yaml'} --by NAME")
        out.append(f"then go on: rung cycle {folder}")
    return "\n".join(out)


def lineage(
    what: Annotated[str, typer.Argument(metavar="ANSWER|FOLDER", help="A served answer's id, or a cycle's folder.")],
    folder: Annotated[Path, typer.Option("--cycle", metavar="FOLDER", help="The cycle's folder.")] = Path("cycle"),
    json: Json = False,
    store: StoreUrl = None,
) -> None:
    """Follow a served answer, or all versions of a cycle, back to the rows that were learnt from. Exit code 1 where one
    is stale."""
    from rung.core.codec import encode
    from rung.serving.work.lineage import read_versions, trace

    with open_store(Settings({"store": store}).store_url) as opened:
        if Path(what).is_dir():
            versions = read_versions(Path(what), opened)
            typer.echo(codec.dumps([encode(one) for one in versions], indent=2) if json else _table(versions))
            stale = [one for one in versions if one.gone and one.current]
        else:
            found = trace(what, folder, opened)
            if json:
                typer.echo(codec.dumps(encode(found), indent=2))
            else:
                typer.echo(f"answer {found.served} of {found.model}, given by program {found.program[:16]}")
                typer.echo(
                    _version(found.version, read_versions(folder, opened), opened)
                    if found.version
                    else f"no version of {folder} is that program"
                )
            stale = [found.version] if found.version and found.version.gone else []
    for one in stale:
        typer.echo(
            f"version {one.number} is stale: {len(one.gone)} answers it learnt from were deleted; make it again",
            err=True,
        )
    if stale:
        raise typer.Exit(1)


def _table(versions: list[Version]) -> str:
    rows = [["version", "program", "run", "rung", "learnt", "held", "deleted", "approved by", "", "why"]]
    rows += [
        [str(one.number), one.program[:12], one.run, one.rung, str(len(one.learnt)), str(len(one.held)), str(len(one.gone)),
         ", ".join(one.approved) or "nobody", "served" if one.current else "", one.why]
        for one in versions
    ]  # fmt: skip
    return align(rows)


def _version(version: Version, versions: list[Version], store: Store) -> str:
    from rung.serving.work.lineage import ancestors

    out = [
        f"version {version.number}: {version.rung} of run {version.run}, approved by {', '.join(version.approved) or 'nobody'}",
        f"  task {version.task}, its train rows, and {len(version.learnt)} served answers",
    ]
    pairs = list(ancestors(version, {one.program: one for one in versions}, store))
    out += [f"    {count} of {who}" for who, count in sorted(Counter(who for _, who in pairs).items())]
    out += [f"    {id} ({who})" for id, who in pairs[:10]]
    return "\n".join([*out, f"    and {len(pairs) - 10} more (--json)"] if len(pairs) > 10 else out)
