"""``rung up``: a gateway, workers, an index and a trainer as one set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli.base.options import Json

if TYPE_CHECKING:
    import socket

    from rung.serving.work.services.spec import ServiceSpec


def up(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The services: services.yaml.")],
    status: Annotated[bool, typer.Option("--status", help="Show those that run.")] = False,
    restart: Annotated[str, typer.Option(metavar="SERVICE", help="Restart a running one, without a gap.")] = "",
    stop: Annotated[bool, typer.Option("--stop", help="End those that run, in order.")] = False,
    json: Json = False,
) -> None:
    """Keep the services of a file at work: begun in order, begun again when they end, ended in the opposite order on
    SIGTERM or Ctrl-C."""
    import json as encoder

    from rung.cli.main import VERBS
    from rung.core.settings import Settings
    from rung.serving.work.services.control import ControlSocket, control_path, send_command
    from rung.serving.work.services.spec import read_services
    from rung.serving.work.services.supervisor import ServiceSupervisor

    spec = read_services(file, VERBS)
    folder = file.resolve().parent
    home = folder / Settings(folder=folder).home
    path = control_path(home, file)
    if status or restart or stop:
        do = {"do": "restart", "service": restart} if restart else {"do": "stop" if stop else "status"}
        rows = send_command(path, do)["services"]
        typer.echo(encoder.dumps(rows, indent=2) if json else _table(rows))
        if any(row["state"] == "failed" for row in rows):
            raise typer.Exit(1)
        return

    def say(line: str) -> None:
        typer.echo(line, err=True)

    control = ControlSocket(path)
    supervisor = ServiceSupervisor(spec, folder, home / "logs", control, say)
    say(f"process {os.getpid()}; what each service says is in {home / 'logs'}; how it goes: rung up {file} --status")
    supervisor.run(_bind)
    say("stopped")


def _bind(one: ServiceSpec) -> socket.socket:
    from rung.core.settings import Settings
    from rung.serving.http.process.server import listen

    settings = Settings({"port": one.port})
    return listen("127.0.0.1", settings["port"])


def _table(rows: list[dict[str, Any]]) -> str:
    from rung.core.text.columns import align

    titles = ["service", "state", "process", "for", "restarts", "last exit"]
    return align([titles, *(_cells(row) for row in rows)])


def _cells(row: dict[str, Any]) -> list[str]:
    pid, ended = ("–" if row[name] is None else str(row[name]) for name in ("pid", "exit"))
    return [row["name"], row["state"], pid, f"{row['seconds']:,.0f} s", str(row["restarts"]), ended]
