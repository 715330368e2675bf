"""``rung validate``: every mistake in a task, with file, line and remedy."""

from __future__ import annotations

from typing import Annotated

import typer


def validate(
    task: Annotated[str, typer.Argument(help="A task file, its folder, a pack's name, an agent file or a workflow.")],
    json: Annotated[bool, typer.Option("--json", help="Problems and findings as JSON.")] = False,
) -> None:
    """Check a task and its data, an agent file or a workflow; nothing is written. Exit code 2 when there is a
    mistake."""
    from dataclasses import asdict
    from json import dumps

    from rung import tasks

    if _other(task, json):
        return
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


def _other(name: str, json: bool) -> bool:
    """Check a workflow or an agent file; False: it is neither."""
    import asyncio
    from dataclasses import asdict
    from json import dumps
    from pathlib import Path

    from rung.agents.program.file import KEYS, read_agent
    from rung.core.errors import InputError
    from rung.core.parts.problem import Problems
    from rung.foundations.text.yaml import read_yaml
    from rung.models import Pool
    from rung.workflow.program import examine

    file = Path(name)
    if not file.is_file() or file.suffix not in (".yaml", ".yml"):
        return False
    try:
        value = read_yaml(file.read_text(encoding="utf-8"))
    except Exception:  # told with its line by whoever reads it
        return False
    flow = isinstance(value, dict) and ("workflow" in value or "steps" in value)
    if not flow and (not isinstance(value, dict) or not value or not value.keys() <= set(KEYS)):
        return False
    problems = Problems()

    async def work() -> None:
        async with Pool() as pool:
            if flow:
                examine(file, pool, problems)
                return
            try:
                read_agent(file, pool)
            except InputError as error:
                problems.add(error.said, error.remedy, file=error.file or file, line=error.line, code=error.code)

    asyncio.run(work())
    found = problems.close()
    if json:
        typer.echo(dumps({"ok": not problems.failed, "problems": [asdict(one) for one in found]}, indent=2))
    else:
        for problem in found:
            typer.echo(str(problem))
        typer.echo(f"{name}: {'a mistake' if problems.failed else 'good'}")
    if problems.failed:
        raise typer.Exit(2)
    return True
