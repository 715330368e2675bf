"""``rung validate``: every mistake in a task, with file, line and remedy."""

from __future__ import annotations

from typing import Annotated

import typer


def validate(
    task: Annotated[str, typer.Argument(help="A task file, its folder, or a pack's name.")],
    json: Annotated[bool, typer.Option("--json", help="Problems and findings as JSON.")] = False,
) -> None:
    """Check a task and its data; nothing is written. Exit code 2 when there is a mistake that stops it from loading."""
    from dataclasses import asdict
    from json import dumps

    from rung import tasks

    examination = tasks.examine(task)
    errors = sum(problem.level == "error" for problem in examination.problems)
    if json:
        document = {
            "ok": not errors,
            "problems": [asdict(problem) for problem in examination.problems],
            "findings": asdict(examination.findings),
        }
        typer.echo(dumps(document, indent=2, ensure_ascii=False))
        raise typer.Exit(2 if errors else 0)
    for problem in examination.problems:
        typer.echo(str(problem))
    if errors:
        typer.echo(f"{task}: {errors} mistake{'s' * (errors > 1)}, {len(examination.problems) - errors} warnings")
        raise typer.Exit(2)
    found, loaded = examination.findings, examination.task
    if loaded is None:
        raise typer.Exit(2)
    rows = ", ".join(f"{count:,} {name}" for name, count in found.rows.items())
    labels = f"; {found.labels} labels" if found.labels else ""
    typer.echo(f"{loaded.name}: good. {found.read:,} rows read: {rows}{labels}; hash {loaded.hash[:12]}")
    typer.echo(
        f"duplicates: {found.exact:,} exact, {found.near:,} near (largest cluster {found.largest}); "
        f"{found.straddling:,} clusters straddled given splits, {sum(found.dropped.values()):,} rows left out for it"
    )
    if found.skipped:
        typer.echo(f"empty: {found.skipped:,} rows left out")
    if found.added or found.gone:
        typer.echo(f"since the splits were frozen: {found.added:,} rows added, {found.gone:,} gone")
