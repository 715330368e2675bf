"""The pages of docs/reference that are made from the code: every verb with its options, and every setting.

``python -m rung.cli.base.reference docs/reference`` writes them; a test fails while they are stale.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from rung.cli.main import PANELS, app
from rung.core.settings import KEYS


def _verb(command: Any, path: str, depth: int) -> list[str]:
    context = typer.Context(command, info_name=path)
    lines = [f"{'#' * depth} `{path}`", "", *(command.help or "").strip().splitlines(), ""]
    inner = getattr(command, "commands", None)
    if inner:
        for name in command.list_commands(context):
            lines += _verb(command.get_command(context, name), f"{path} {name}", depth + 1)
        return lines
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines += ["```text", usage, "```", ""]
    rows = [row for item in command.params if (row := item.get_help_record(context)) is not None]
    if rows:
        lines += ["| option | what it does |", "|---|---|"]
        lines += [f"| `{_cell(left)}` | {_cell(right)} |" for left, right in rows]
        lines.append("")
    return lines


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def verbs() -> str:
    """docs/reference/cli.md: the headings of ``rung --help``, each verb's usage and options."""
    group = typer.main.get_group(app)
    context = typer.Context(group, info_name="rung")
    lines = ["# Command line", "", "Made from the program itself (`make docs`).", ""]
    for title, panel in PANELS.items():
        lines += [f"## {title}", ""]
        for name in panel:
            lines += _verb(group.get_command(context, name), f"rung {name}", 3)
    return "\n".join(lines).rstrip() + "\n"


def settings() -> str:
    """docs/reference/settings.md: a row for each setting."""
    lines = [
        "# Settings",
        "",
        "A flag wins over an environment variable, that over `rung.toml` in the current folder, that over the user's",
        "`~/.config/rung/rung.toml`, that over the default. `rung config` shows which of them won.",
        "",
        "A project's `rung.toml` may come from anybody, so it cannot say whom to trust: it cannot set `keys` or `plain_http`, nor a",
        "`store` on a server.",
        "",
        "| setting | variable | default | what it is |",
        "|---|---|---|---|",
    ]
    for key in KEYS.values():
        default = "" if key.default == "" else f"`{key.default}`"
        lines.append(f"| `{key.name}` | `{key.variable}` | {default} | {_cell(key.help)} |")
    return "\n".join(lines) + "\n"


PAGES = {"cli.md": verbs, "settings.md": settings}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")
