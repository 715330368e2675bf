"""``rung prompt``: save, list, show, compare, roll back, export, lint, ablate and optimize prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.base.late import late
from rung.cli.base.options import assigned

if TYPE_CHECKING:
    from rung.core.types import Message
    from rung.prompts.template.library import FoundTemplate

app = typer.Typer(
    cls=late(
        {
            "optimize": ("improve.optimize:optimize", "Search a better prompt on train and dev; test it once."),
            "ablate": ("task.study:ablation", "Measure what each part of a task's prompt is worth."),
        }
    ),
    help="Versioned prompts: save, list, show, diff, rollback, export, lint, ablate, optimize.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

What = Annotated[str, typer.Argument(metavar="PROMPT", help="A template file, or a saved name: NAME or NAME@VERSION.")]
StoreUrl = Annotated[str | None, typer.Option("--store", help="Store URL.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A variable's value; may be repeated.")
]


@app.command("save")
def save(
    file: Annotated[Path, typer.Argument(help="A template file: FILE.md, FILE.prompty or FILE.prompt.")],
    name: Annotated[str, typer.Option(help="Save it under this name instead of its own.")] = "",
    note: Annotated[str, typer.Option(help="What changed, in a few words.")] = "",
    store: StoreUrl = None,
) -> None:
    """Store a template as the next version of its name; roots that are files are stored with it, all or none."""
    from dataclasses import replace

    from rung.core.settings import Settings
    from rung.prompts.template import library
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        found = library.find(str(file), opened.prompts)
        if name:
            found = replace(found, own=replace(found.own, name=name), flat=replace(found.flat, name=name))
        newest = {prompt.name: prompt.version for prompt in opened.prompts.all()}
        rows = library.save(found, opened, note)
    for row in rows:
        same = newest.get(row.name) == row.version
        typer.echo(f"{row.name} version {row.version}, hash {row.hash[:12]}{' (unchanged)' if same else ''}")


@app.command("list")
def list_prompts(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False, store: StoreUrl = None
) -> None:
    """List the saved prompts: newest version, root, and whether the last score was of what they say now."""
    from dataclasses import asdict
    from datetime import datetime
    from json import dumps

    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.core.text.columns import align
    from rung.prompts.template import library
    from rung.store import open_store
    from rung.studies.scored import scored_prompts

    rows: list[dict[str, Any]] = []
    with open_store(Settings({"store": store}).store_url) as opened:
        scored = scored_prompts(opened)
        for row in opened.prompts.all():
            try:
                hash, broken = library.find(row.name, opened.prompts).hash, ""
            except InputError as error:
                hash, broken = row.hash, error.message
            score = scored.get(row.name)
            state = "never scored" if score is None else "scored" if score.hash == hash else "stale"
            rows.append(
                {
                    "name": row.name,
                    "version": row.version,
                    "hash": hash,
                    "root": row.root,
                    "root_changed": hash != row.hash,
                    "created": row.created,
                    "note": row.note,
                    "state": f"broken: {broken}" if broken else state,
                    "score": asdict(score) if score else None,
                }
            )
    if json:
        typer.echo(dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        typer.echo("no prompts yet; type: rung prompt save FILE")
        return
    table = [("prompt", "version", "hash", "root", "saved", "state", "score", "note")]
    for item in rows:
        score = item["score"]
        root = f"{item['root']} (edited since)" if item["root"] and item["root_changed"] else item["root"]
        value = (
            f"{score['metric']} {score['value']['value']:.3f} on {score['task']}, run {score['run']}" if score else ""
        )
        saved = datetime.fromtimestamp(item["created"]).astimezone().isoformat(" ", "minutes")[:16]
        table.append(
            (item["name"], str(item["version"]), item["hash"][:12], root, saved, item["state"], value, item["note"])
        )
    typer.echo(align(table))


@app.command("show")
def show(
    what: Annotated[
        str, typer.Argument(metavar="PROMPT|TASK", help="A saved prompt, a template file, or a task (file or pack).")
    ],
    values: Sets = None,
    drop: Annotated[list[str] | None, typer.Option("--drop", help="Leave this part out; may be repeated.")] = None,
    style: Annotated[str, typer.Option(help="chat, plain, brackets, markdown or xml.")] = "",
    store: StoreUrl = None,
) -> None:
    """Show a prompt: its versions and text; with values (or for a task: a training example) the exact messages."""
    from dataclasses import replace
    from datetime import datetime

    from rung.core.parts import registry
    from rung.core.settings import Settings
    from rung.prompts.template import library
    from rung.prompts.template.files import write
    from rung.prompts.template.output import as_text
    from rung.store import open_store

    path = Path(what)
    if what in registry.table("pack") or path.is_dir() or path.suffix in (".yaml", ".yml"):
        typer.echo(as_text(_of_task(what, drop or [], style)))
        return
    with open_store(Settings({"store": store}).store_url) as opened:
        found = library.find(what, opened.prompts)
        versions = [] if found.file else opened.prompts.all(found.own.name)
    if values or drop or style:
        flat = replace(found.flat, parts=found.flat.parts.drop(*(drop or ())), style=style or found.flat.style)
        typer.echo(as_text(flat.check().render(assigned(values or ()))))
        return
    typer.echo(f"{found.own.name}: hash {found.hash}")
    for row in versions:
        when = datetime.fromtimestamp(row.created).astimezone().isoformat(" ", "minutes")[:16]
        typer.echo(f"  version {row.version}  {when}  {row.hash[:12]}  {row.note}".rstrip())
    if found.roots:
        typer.echo(f"  roots: {' → '.join(root.own.name for root in found.roots)}")
    typer.echo(f"  variables: {', '.join(f'{v.name} ({v.kind})' for v in found.flat.variables) or 'none'}\n")
    typer.echo(write(found.own), nl=False)


@app.command("diff")
def diff(
    first: What,
    second: Annotated[str, typer.Argument(metavar="PROMPT", help="The other; without it: the version before.")] = "",
    store: StoreUrl = None,
) -> None:
    """Show the lines that differ between two versions, names or files; exit code 1 when there are some."""
    from difflib import unified_diff

    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.prompts.template import library
    from rung.prompts.template.files import write
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        if not second:
            newest = library.find(first, opened.prompts)
            if newest.version < 2:
                raise InputError(f"{first} has no version before", remedy=f"type: rung prompt diff {first} OTHER")
            first, second = f"{newest.own.name}@{newest.version - 1}", f"{newest.own.name}@{newest.version}"
        one, two = library.find(first, opened.prompts), library.find(second, opened.prompts)
    before, after = ([*write(found.own).splitlines(), *_inherited(found)] for found in (one, two))
    lines = list(unified_diff(before, after, f"{first} {one.hash[:12]}", f"{second} {two.hash[:12]}", lineterm=""))
    typer.echo("\n".join(lines) if lines else f"{first} and {second} say the same")
    raise typer.Exit(1 if lines else 0)


def _inherited(found: FoundTemplate) -> list[str]:
    from rung.prompts.template.files import write

    if not found.roots:
        return []
    return ["", "# joined with its roots", *write(found.flat).splitlines()]


@app.command("rollback")
def rollback(
    name: Annotated[str, typer.Argument(help="A saved prompt.")],
    version: Annotated[int, typer.Argument(help="The version to go back to.", min=1)],
    store: StoreUrl = None,
) -> None:
    """Save an old version again as the newest; nothing is lost."""
    from rung.core.settings import Settings
    from rung.prompts.template import library
    from rung.store import open_store

    with open_store(Settings({"store": store}).store_url) as opened:
        found = library.find(f"{name}@{version}", opened.prompts)
        row = library.save(found, opened, f"back to version {version}")[-1]
    typer.echo(f"{row.name} version {row.version} says what version {version} said, hash {row.hash[:12]}")


@app.command("export")
def export(
    what: What,
    format: Annotated[
        str, typer.Option("--as", help="text, openai, python, or a file's format: rung, prompty.")
    ] = "text",
    values: Sets = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here instead of printing.")] = None,
    store: StoreUrl = None,
) -> None:
    """Take a prompt, joined with its roots, elsewhere; text and openai need all values, the others keep what is
    open."""
    from rung.core.errors import InputError
    from rung.core.settings import Settings
    from rung.prompts.template import library
    from rung.prompts.template.files import FORMATS, write
    from rung.prompts.template.output import as_openai, as_python, as_text
    from rung.store import open_store

    if format not in ("text", "openai", "python", *FORMATS):
        raise InputError(f"unknown format {format!r}", remedy=f"formats: text, openai, python, {', '.join(FORMATS)}")
    with open_store(Settings({"store": store}).store_url) as opened:
        flat = library.find(what, opened.prompts).flat.with_values(assigned(values or ()))
    if format == "text":
        text = as_text(flat.render({}))
    elif format == "openai":
        text = as_openai(flat.render({}))
    elif format == "python":
        text = as_python(flat)
    else:
        text = write(flat, next(name for name in FORMATS if name == format))
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
        return
    output.write_text(text, encoding="utf-8")
    typer.echo(f"{output}: {len(text):,} characters")


@app.command("lint")
def lint(
    what: Annotated[
        str, typer.Argument(metavar="FILE|TEXT|TASK", help="A template or text file, a task (file or pack), or a text.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is weak in a prompt, where, why, and what to write instead; exit code 1 for an error among it."""
    from dataclasses import asdict
    from json import dumps

    from rung.prompts.lint.lint import lint_source

    title, report = lint_source(what)
    if json:
        findings = [asdict(finding) for finding in report.findings]
        typer.echo(dumps({"source": title, "score": report.score, "findings": findings}, indent=2, ensure_ascii=False))
    else:
        for finding in report.findings:
            typer.echo(f"{title}:{finding}")
        typer.echo(f"{title}: score {report.score} of 100, {len(report.findings)} findings, {report.errors} errors")
    raise typer.Exit(1 if report.errors else 0)


def _of_task(what: str, drop: list[str], style: str) -> tuple[Message, ...]:
    from rung import tasks
    from rung.core.errors import InputError
    from rung.prompts.search.ablate import whole_prompt

    task = tasks.load(what)
    shown = task.train or task.dev
    if not shown:
        raise InputError(f"{task.name} has no training examples to show", remedy="give the task some rows")
    prompt = whole_prompt(task, shots=0, style=style or "chat").drop(*drop)
    return prompt.render(shown[-1].input)
