"""``rung models`` and ``rung run -m``, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rung.cli.main import app
from rung.core.errors import RungError
from rung.core.system.machine import machine
from tests.models.servers import serve

runner = CliRunner()


def rung(*words: str) -> Result:
    return runner.invoke(app, list(words))


def test_list_names_local_and_hosted_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-123456789")
    for words in (("models",), ("models", "list")):
        shown = rung(*words)
        assert shown.exit_code == 0
        assert "openvino:smollm2-135m" in shown.output
        assert "key set" in shown.output
        assert "ANTHROPIC_API_KEY" in shown.output
        assert "sk-canary" not in shown.output


def test_list_says_in_what_each_model_would_compute_here(monkeypatch: pytest.MonkeyPatch) -> None:
    lesser = replace(machine(), architecture="x86_64", features=("avx2",))
    rows = [line for line in rung("models").output.splitlines() if "MB" in line]
    assert all(any(f" {kind} " in row for kind in ("f32", "bf16", "int8")) for row in rows)
    monkeypatch.setattr("rung.core.system.machine.machine", lambda: lesser)
    assert all(" f32 " in line for line in rung("models").output.splitlines() if " MB " in line)
    monkeypatch.setenv("RUNG_PRECISION", "bf16")
    refused = rung("models")
    assert refused.exit_code == 0
    assert "no bfloat16" in " ".join(refused.output.split())


def test_show_says_what_a_model_can_do_and_costs() -> None:
    shown = rung("models", "show", "fake:echo")
    assert shown.exit_code == 0
    assert "score" in shown.output
    assert "8,192 tokens" in shown.output


def test_show_says_prices_and_their_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-123456789")
    assert "$2 in" in rung("models", "show", "openai:gpt-4.1").output
    assert "UNPRICED" in rung("models", "show", "openai:something-new").output


def test_pull_copies_a_file_and_list_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.gguf").write_bytes(b"GGUF" + bytes(100))
    shown = rung("models", "pull", str(tmp_path / "mine.gguf"))
    assert shown.exit_code == 0
    assert "openvino:mine" in rung("models").output


@pytest.mark.parametrize(
    "words",
    [
        ("models", "pull", "nope"),
        ("models", "pull", "smollm2-135m", "--from", "absent.whl"),
        ("models", "pull", "--from", "x.whl"),
        ("models", "show", "nope"),
        ("run", "-m", "nope:x", "-p", "hi"),
        ("run", "-m", "fake:echo"),
        ("run", "-m", "openai:gpt-4.1", "-p", "hi"),
        ("run", "-m", "fake:echo", "-p", "hi", "--json-schema", "absent.json"),
        ("run", "-m", "fake:down", "-p", "hi"),
        ("run", "folder", "-p", "hi"),
    ],
)
def test_mistakes_end_in_what_to_type(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path))
    failed = rung(*words)
    assert isinstance(failed.exception, RungError)
    assert failed.exception.remedy


def test_run_streams_and_says_what_it_took(tmp_path: Path) -> None:
    shown = rung("run", "-m", "fake:echo", "-p", "one two three", "--max-tokens", "2")
    assert shown.exit_code == 0
    assert shown.stdout == "one two\n"
    assert "2 tokens" in shown.stderr
    assert "finish: length" in shown.stderr
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}')
    shown = rung("run", "-m", "fake:echo", "-p", "I have 7 cats", "--json-schema", str(schema))
    assert json.loads(shown.stdout) == {"n": 7}
    assert runner.invoke(app, ["run", "-m", "fake:echo", "-p", "-"], input="from a pipe").stdout == "from a pipe\n"


def test_run_asks_a_server_of_ones_own() -> None:
    with serve() as server:
        where = f"openai:ok@{server.url}/v1"
        words = ["--system", "Be kind.", "--temperature", "0.7", "--top-p", "0.9", "--top-k", "40", "--seed", "5"]
        shown = rung("run", "-m", where, "-p", "Hello?", *words)
        assert shown.exit_code == 0, shown.exception
        assert shown.stdout == "Hello brave world\n"
        assert "unpriced" in shown.stderr
        body = server.seen[0].body
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert (body["temperature"], body["top_p"], body["top_k"], body["seed"]) == (0.7, 0.9, 40, 5)


def test_the_verbs_load_nothing_heavy() -> None:
    code = (
        "import sys, rung.cli.machine.models, rung.cli.use.run\n"
        "heavy = {'torch', 'transformers', 'openvino', 'openai', 'anthropic', 'google.genai', 'numpy', 'httpx', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
