"""Who drives a run: enough about a process to tell later, on the same host, whether it still lives.

A process id alone is not enough, since ids are used again: the time it was born and the boot of the machine go with it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """``boot`` and ``born`` are opaque marks, empty where the system does not tell."""

    host: str
    boot: str
    pid: int
    born: str


def this() -> Process:
    return Process(socket.gethostname(), _boot(), os.getpid(), _born(os.getpid()) or "")


def died(process: Process) -> bool:
    """True when it is certain that the process is gone; a process of another host gets the benefit of the doubt."""
    if process.host != socket.gethostname():
        return False
    if process.boot != _boot():
        # Another boot is certain death, another container on the same boot is not ours to judge.
        return process.boot.partition("/")[0] != _boot().partition("/")[0]
    born = _born(process.pid)
    return born is None or born != process.born


def _boot() -> str:
    """The machine's boot and, after a slash, the space of process ids (containers have their own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str | None:
    """When the process began, as the system words it; None when there is no such process.

    On Windows always empty: there ``os.kill(pid, 0)`` would end the process, so a dead run goes on showing as running.
    """
    if sys.platform == "win32":
        return ""
    if Path("/proc/self/stat").exists():
        try:
            # The name is in brackets and may hold anything: fields are counted behind the last one (proc(5)).
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or None
