"""``rung prompt optimize`` as it is typed, killed, and typed again."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rung.cli.main import app
from rung.core.errors import InputError
from tests.child import RUNG, Child
from tests.command import rung

STEPS = ".rung/fits/*/steps.jsonl"


def command(*words: str) -> list[str]:
    code = f"import sys; sys.argv = ['rung', *{list(words)!r}]; from rung.cli.main import main; main()"
    return [sys.executable, "-c", code]


SHORT = ("prompt", "optimize", "support-intent", "-m", "fake:echo", "--calls", "120", "--dev", "16", "--limit", "12")


def typed(*words: str) -> Result:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_from_the_shell_and_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = typed(*SHORT, "--diff")
    assert "test (looked at once)" in done.stdout
    assert "gain" in done.stdout
    assert "instruction:" in done.stdout
    lines = done.stderr.splitlines()
    assert lines[0].startswith("start 0: 16 of 120 calls")
    assert all("of 120 calls" in line and "left" in line and "best" in line for line in lines[1:])
    out = tmp_path / "support-intent-optimized"
    assert typed("run", str(out), "-i", "Where is my parcel?").stdout.strip()
    assert "support-intent version 1" in typed("prompt", "save", str(out / "prompt.md")).stdout
    again = json.loads(typed(*SHORT, "--json").stdout)
    assert again["usage"] == {}, "everything came from the journal"
    assert not typed(*SHORT, "-p", "support-intent", "-o", "second", "-q").stderr


def test_what_it_costs_is_said_and_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = typed(*SHORT, "--dry-run")
    assert "16 calls for the start prompt" in done.stdout
    assert "24 calls for the gain on test" in done.stdout
    assert not (tmp_path / ".rung").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--calls", "40"), "one step needs"),
        (("--source", "magic"), "no source magic"),
        (("--rung", "nowhere"), "expected the name of a rung"),
        (("--prompt", "nowhere"), "neither a file nor a saved prompt"),
        (("--alpha", "2"), "alpha"),
        (("--reflector", "nobody:x", "--source", "reflection"), "nobody"),
    ],
)
def test_what_is_wrong_is_one_message(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        CliRunner().invoke(app, [*SHORT, *words], catch_exceptions=False)
    assert said in str(error.value)
    assert "→" in str(error.value)
    assert not (tmp_path / "support-intent-optimized").exists()


@pytest.mark.slow
def test_a_killed_search_goes_on(tmp_path: Path) -> None:
    """kill -9 in the second step: the same command ends as if nothing had been, and asks only for what is missing."""
    line = "prompt optimize support-intent -m fake:slow --calls 110 --dev 12 --width 4 --seed 3 --no-test"
    words = line.split()
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = rung(*words, "--json", folder=tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    process = Child(RUNG, *words, "-q", folder=tmp_path / "cut", RUNG_CONCURRENCY="2")
    deadline = time.monotonic() + 90
    while not list((tmp_path / "cut").glob(STEPS)) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    (steps,) = (tmp_path / "cut").glob(STEPS)
    kept = steps.read_text().splitlines()
    assert kept
    assert "end" not in json.loads(kept[-1])
    assert not (tmp_path / "cut" / "support-intent-optimized").exists()
    done = rung(*words, "--json", folder=tmp_path / "cut")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(whole.stdout), json.loads(done.stdout)
    assert second["steps"] == first["steps"]
    assert second["end"] == first["end"]
    assert steps.read_text().splitlines()[: len(kept)] == kept
    assert 0 < second["usage"]["calls"] < first["usage"]["calls"] - 12
