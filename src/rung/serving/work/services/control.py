"""A socket beside the store by which a running set of services is asked how it is, and told to restart or stop."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rung.core.codec import digest
from rung.core.errors import InputError

WAIT = 600.0
LONGEST = 100
"""Characters of a socket's path: the system takes about 107."""

Command = Mapping[str, Any]


def control_path(home: Path, file: Path) -> Path:
    """Where the set of a services file listens."""
    return home / f"up-{digest(str(file.resolve()))[:12]}.sock"


def send_command(path: Path, command: Command) -> dict[str, Any]:
    """What a running set answers. Raises InputError (code not-running) where none listens."""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(WAIT)
            link.connect(str(path))
            link.sendall(json.dumps(command).encode() + b"\n")
            data = b""
            while piece := link.recv(65536):
                data += piece
        found = json.loads(data)
    except (OSError, ValueError):
        raise InputError(
            "these services are not running here", remedy="type: rung up FILE", code="not-running"
        ) from None
    if "error" in found:
        raise InputError(found["error"], remedy=found.get("remedy", ""), code="service")
    return dict(found)


class ControlSocket:
    """The listening end. ``turn`` answers who waits, without waiting itself."""

    def __init__(self, path: Path) -> None:
        if len(str(path)) > LONGEST:
            raise InputError(
                f"the path {path} is too long for a socket",
                remedy="type it from nearer: set RUNG_HOME",
                code="long-path",
            )
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            send_command(path, {"do": "status"})
        except InputError as error:
            if error.code != "not-running":
                raise
            path.unlink(missing_ok=True)  # of one that was killed
        else:
            raise InputError("these services are running already", remedy="see: rung up FILE --status", code="running")
        self._socket = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)  # nobody else may connect
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        self._socket.listen(8)
        self._socket.setblocking(False)

    def turn(self, answer: Callable[[Command], Mapping[str, Any]]) -> None:
        """Answer one command, where one has come."""
        try:
            link, _ = self._socket.accept()
        except BlockingIOError:
            return
        with link:
            link.settimeout(2.0)
            try:
                line = link.makefile("rb").readline(65536)
                link.sendall(json.dumps(answer(json.loads(line))).encode())
            except (OSError, ValueError):
                return  # whoever asked has left, or talks nonsense

    def close(self) -> None:
        self._socket.close()
        self.path.unlink(missing_ok=True)
