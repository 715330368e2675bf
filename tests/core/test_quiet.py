"""Nothing that we import or run reaches out by itself, or leaves a trace in the home folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rung.core.settings import Settings
from rung.models import hub

WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        place = arguments[0] if event.startswith("socket.get") else arguments[1]
        host = place[0] if isinstance(place, tuple) else place
        if str(host) not in ("127.0.0.1", "localhost", "::1", "None", ""):
            with open(os.environ["WATCHED"], "a") as out:
                out.write(f"{event} {host}\\n")
sys.addaudithook(watch)
"""
"""As ``sitecustomize`` it is read first by every Python process that is started, also by those that ours start."""

PACKAGES = ("openvino", "openvino_genai", "torch", "transformers", "huggingface_hub", "peft", "tokenizers", "gguf")

EACH = f"""
import rung, importlib, importlib.util, sys, time
for name in {PACKAGES}:
    importlib.util.find_spec(name) and importlib.import_module(name)
time.sleep(0.3)
print("imported", file=sys.stderr, flush=True)
from rung.cli.main import main
for line in sys.argv[1:]:
    sys.argv = ["rung", *line.split()]
    try: main()
    except SystemExit as end:
        if end.code: raise
    print(line, "ended with 0", file=sys.stderr, flush=True)
"""
"""Everything heavy is imported, then come commands one after another, in one process: it takes seconds to import all that."""


class Watched:
    """Runs commands with an empty home, and says where they reached out to and what they left at home."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.home, self._log = folder / "home", folder / "reached"
        self.home.mkdir()
        (folder / "watch").mkdir()
        (folder / "watch" / "sitecustomize.py").write_text(WATCH)
        self._variables = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("HF_", "DO_NOT", "RAY_"))},
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "PYTHONPATH": str(folder / "watch"),
            "WATCHED": str(self._log),
            **variables,
        }

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, cwd=cwd, env=self._variables, timeout=300
        )

    def start(self, *command: str, cwd: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=cwd,
            env=self._variables,
        )

    @property
    def reached(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.is_file() else []

    @property
    def left(self) -> list[str]:
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file())


def test_the_watch_sees_what_reaches_out(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    code = "import socket\ntry: socket.getaddrinfo('name.invalid', 80)\nexcept OSError: pass"
    watched.run("-c", code, cwd=tmp_path)
    assert watched.reached == ["socket.getaddrinfo name.invalid"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_we_import_and_run_reaches_nobody(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    rows = [
        {"messages": [{"role": "user", "content": f"Hello {i}"}, {"role": "assistant", "content": "Good day"}]}
        for i in range(6)
    ]
    (work / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    tune = ("data: rows.jsonl", "dev: 0.2", "rank: 2", "epochs: 1", "export: [adapter]", "out: tuned")
    (work / "tune.yaml").write_text("\n".join(tune))
    (work / "note.md").write_text("# Parcels\n\nA late parcel is paid back.\n")
    watched = Watched(tmp_path)

    weights = hub.present("smollm2-135m", Settings().cache)
    lines = [
        "run -m openvino:smollm2-135m -p Hello --max-tokens 2",
        "init mine",
        "climb mine --rung rules --rung zero-shot --limit 6 --quiet",
        "tune tune.yaml --no-preflight --no-parity -q",
        "index build note.md --to notes",
        "search notes late",
    ]
    done = watched.run("-c", EACH, *(lines if weights else ()), cwd=work)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "imported" in done.stderr
    if not weights:
        assert (watched.reached, watched.left) == ([], [])
        pytest.skip("the embedded model is not on this machine; type: rung models pull")
    assert done.stderr.count("ended with 0") == len(lines)
    server = watched.start("-m", "rung", "serve", "-m", "openvino:smollm2-135m", "--port", "0", cwd=work)
    assert server.stdout is not None
    try:
        assert any("http://" in line for line in server.stdout), "it did not start"
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()
    assert (watched.reached, watched.left) == ([], [])
