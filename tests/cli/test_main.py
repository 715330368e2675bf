from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung.cli.main import VERBS, app
from tests.child import RUNG, Child
from tests.command import rung

HEAVY = ("numpy", "pydantic", "sqlalchemy", "sklearn", "jinja2", "openvino", "torch", "rich.live", "yaml", "fastapi")


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['rung', '--help']\n"
        "from rung.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stdout + done.stderr
    assert "climb" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("climb", "nothing-here"), 2, "rung init my-task"),
        (("climb", "support-intent", "--rung", "zero-shoot"), 2, "zero-shot"),
        (("climb", "support-intent", "--model", "opnai:x"), 2, "openai"),
        (("show", "zzz"), 2, "zzz"),
        (("export", "last", "x"), 2, "rung climb"),
        (("run", "nowhere", "-i", "x"), 2, "rung export"),
        (("serve", "nowhere"), 2, "rung export"),
        (("config", "explain", "colour"), 2, "core_hour"),
        (("validate", "nothing-here"), 2, "no such"),
    ],
)
def test_mistakes_are_one_message_that_says_what_to_type(
    words: tuple[str, ...], code: int, said: str, tmp_path: Path
) -> None:
    done = rung(*words, folder=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rung", "config"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "rung: cannot write the output: No space left on device"
    assert "Traceback" not in done.stderr


def test_config_names_the_winner(tmp_path: Path) -> None:
    (tmp_path / "rung.toml").write_text('model = "fake:slow"\nport = 9000\n')
    done = rung("config", folder=tmp_path, RUNG_MODEL="fake:echo")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "environment RUNG_MODEL" in rows["model"]
    assert "rung.toml" in rows["port"]
    assert "default" in rows["retries"]


def test_an_environment_lies_over_the_file_and_explain_says_so(tmp_path: Path) -> None:
    (tmp_path / "rung.toml").write_text("retries = 2\nport = 9000\n")
    (tmp_path / "rung.prod.toml").write_text("retries = 9\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNG_ENV", "")
        done = rung(
            "--env", "prod", "config", "explain", "--json", folder=tmp_path, RUNG_BROKER="amqp://me:secret@host"
        )
    layers = json.loads(done.stdout)
    said = [(one["source"].rpartition("/")[2], one["value"]) for one in layers["retries"]]
    assert said == [("rung.prod.toml", "9"), ("rung.toml", "2"), ("default", "5")]
    assert layers["port"][0]["value"] == "9000"
    assert "secret" not in done.stdout
    assert layers["broker"][0] == {"source": "environment RUNG_BROKER", "value": "amqp://me:...@host"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNG_ENV", "")
        wrong = rung("--env", "stage", "config", folder=tmp_path)
    assert wrong.returncode == 2
    assert "there are: prod" in wrong.stderr


@pytest.mark.slow
def test_a_climb_from_the_shell_and_back(tmp_path: Path) -> None:
    words = ("climb", "support-intent", "-r", "rules", "-r", "zero-shot", "--limit", "40", "--report", "out.html")
    first = rung(*words, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "Recommendation" in first.stdout
    assert (tmp_path / "out.html").stat().st_size > 10_000
    second = rung(*words, folder=tmp_path)
    assert second.returncode == 0
    runs = rung("runs", folder=tmp_path).stdout
    assert runs.count("support-intent") == 2
    dry = rung("climb", "support-intent", "-r", "zero-shot", "--limit", "10", "--dry-run", folder=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "sum" in dry.stdout
    assert rung("diff", "last", "last", folder=tmp_path).returncode == 0


@pytest.mark.slow
def test_a_killed_climb_goes_on(tmp_path: Path) -> None:
    """kill -9 in the middle: what was answered is kept, and the same command ends the climb."""
    import sqlite3
    import time

    words = ["climb", "support-intent", "-r", "zero-shot", "--limit", "120", "-m", "fake:slow", "-q"]
    process = Child(RUNG, *words, folder=tmp_path, RUNG_CONCURRENCY="4")
    database = tmp_path / ".rung" / "rung.db"

    def journalled() -> int:
        try:
            with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1) as link:
                return int(link.execute("select count(*) from answers where length(example) = 32").fetchone()[0])
        except sqlite3.Error:
            return 0

    deadline = time.monotonic() + 60
    while journalled() < 30 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    kept = journalled()
    assert 30 <= kept < 120
    assert "interrupted" in rung("runs", folder=tmp_path).stdout
    done = rung(*words, folder=tmp_path, RUNG_CONCURRENCY="4")
    assert done.returncode == 0, done.stderr
    assert journalled() == 120


@pytest.mark.slow
def test_two_climbs_on_one_store_at_once(tmp_path: Path) -> None:
    words = ["climb", "support-intent", "-r", "linear", "-r", "zero-shot", "--limit", "60", "-m", "fake:slow", "-q"]
    both = [Child(RUNG, *words, folder=tmp_path) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    runs = rung("runs", folder=tmp_path).stdout
    assert runs.count("done") == 2
    changes = rung("diff", "last", runs.splitlines()[2].split()[0], folder=tmp_path).stdout
    assert changes.count("the same program and examples") == 2


@pytest.mark.slow
def test_a_window_too_small_is_rows_or_a_cut_as_the_task_says(tmp_path: Path) -> None:
    long = "word " * 9000
    rows = "".join(f'"{long if i % 5 == 0 else ""}message {i}",{"a" if i % 2 else "b"}\n' for i in range(60))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows)
    task = (
        "name: long\ninstruction: Say a or b.\ndata: rows.csv\ncolumns: {input: text, reference: label}\n"
        "answer: labels\nmetrics: [accuracy]\nmax_tokens: 8\nsplit: {near: off}\n"
    )
    for policy, failures in (("fail", True), ("truncate", False)):
        (tmp_path / f"{policy}.yaml").write_text(task + f"overflow: {policy}\n")
        done = rung("climb", f"{policy}.yaml", "-r", "zero-shot", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert ("overflow failures" in done.stdout) is failures


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_of_the_table_is_there_and_helps(verb: str) -> None:
    done = CliRunner().invoke(app, [verb, "--help"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"Usage: root {verb}") or done.output.startswith(f"Usage: rung {verb}")
    assert VERBS[verb][1].endswith(".")


def test_a_near_miss_is_named() -> None:
    done = CliRunner().invoke(app, ["clim"])
    assert done.exit_code == 2
    assert "climb" in done.output


@pytest.mark.slow
def test_the_demo_climbs_offline_and_tells_what_to_type_next(tmp_path: Path) -> None:
    done = rung("demo", folder=tmp_path, RUNG_MODEL="nothing:here")
    assert done.returncode == 0, done.stderr
    assert "rung climb rung-demo/task.yaml" in done.stdout
    assert "rung[climb]" in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith("  rung export"):
            assert rung(*line.split()[1:], folder=tmp_path).returncode == 0
    again = rung("demo", folder=tmp_path)
    assert again.returncode == 2
    assert "rung demo rung-demo-2" in again.stderr
