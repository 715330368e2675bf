"""Groups whose commands are imported when they are asked for: help and other commands do not wait for them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.models import DefaultPlaceholder

from rung.cli.base.options import expand


class LateGroup(TyperGroup):
    """A group with the commands of ``late`` besides its own."""

    late: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """name -> (module of cli : attribute, what it does)"""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(dict.fromkeys([*self.late, *super().list_commands(ctx)]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self.commands.get(cmd_name) is None and cmd_name in self.late:
            module, _, attribute = self.late[cmd_name][0].partition(":")
            found = getattr(import_module(f"rung.cli.{module}"), attribute)
            if isinstance(found, typer.Typer):
                unset: object = found.info.cls
                if isinstance(unset, DefaultPlaceholder):
                    found.info.cls = LateGroup  # its help shows whole sentences
                command: Any = typer.main.get_group(found)
            else:
                single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
                single.command(cmd_name)(expand(found))
                command = typer.main.get_command(single)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.late:  # near misses are looked for among the commands that are loaded
            self.commands = {**dict.fromkeys(self.late), **self.commands}  # type: ignore[dict-item]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        lines = {name: line for name, (_, line) in self.late.items()}
        for name in super().list_commands(ctx):
            if name not in lines:
                lines[name] = self.commands[name].get_short_help_str(limit=1000).rstrip(".") + "."
        with formatter.section("Commands"):
            formatter.write_dl(list(lines.items()))


def late(commands: Mapping[str, tuple[str, str]]) -> type[LateGroup]:
    """The class of a group with these commands: name -> (module of cli : attribute, what it does)."""
    return type("Late", (LateGroup,), {"late": commands})
