"""Both tiers give the same answers to the same code; where neither is there, code is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rung.core.errors import InputError, RungError, Unsupported
from rung.sandbox import CodeSandbox, Outcome, Quota, bubblewrap, gate, monty, open_sandbox, seccomp
from rung.sandbox.monty import Monty, Paused


@pytest.fixture(scope="module", params=["monty", "bubblewrap"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[CodeSandbox]:
    try:
        opened = open_sandbox(request.param)
    except RungError as error:
        pytest.skip(error.message)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("code", "printed", "value"),
    [
        ("1 + 1", "", "2"),
        ("print('a', 1)\nx = [1, 2]\nx", "a 1\n", "[1, 2]"),
        ("x = '''a\nb'''\nx", "", "'a\\nb'"),
        ("x = 3; x; (x +\n 1)", "", "4"),
        ("'é'; 'é' * 2  # é", "", "'éé'"),
        ("x = 1\n\nx + \\\n2;", "", "3"),
        ("def f():\n    '''doc\n    more'''\n    return f'''{1}\n2'''\nprint(f())", "1\n2\n", ""),
        ("# nothing", "", ""),
        ("", "", ""),
        ("import math\n[math.gcd(n, 12) for n in (8, 9)]", "", "[4, 3]"),
        ("import json\njson.loads('{\"a\": [1, null]}')", "", "{'a': [1, None]}"),
        ("sorted({'b': 1, 'a': 2})", "", "['a', 'b']"),
    ],
)
def test_the_same_answers(sandbox: CodeSandbox, code: str, printed: str, value: str) -> None:
    outcome = sandbox.run(code)
    assert (outcome.ended, outcome.printed, outcome.value, outcome.error) == ("done", printed, value, "")


@pytest.mark.parametrize(
    ("code", "error", "line"),
    [
        ("x = 1\ny = x / 0", "ZeroDivisionError", 2),
        ("def f(n):\n    return {}[n]\n\nf('k')", "KeyError", 2),
        ("x = (", "SyntaxError", 1),
        ("print(nowhere)", "NameError", 1),
        ("def f(n): return f(n)\nf(1)", "RecursionError", 1),
        ("raise ValueError('über')", "ValueError", 1),
    ],
)
def test_an_error_says_where(sandbox: CodeSandbox, code: str, error: str, line: int) -> None:
    outcome = sandbox.run(code)
    assert outcome.ended == "error"
    assert error in outcome.error or sandbox.name == "monty"  # it leaves the type out of a syntax error
    assert f"line {line}" in outcome.traceback
    assert outcome.error in outcome.report()


def test_files_lie_in_the_folder(sandbox: CodeSandbox) -> None:
    given = {"a/b.txt": "é".encode(), "c.bin": b"\0\1"}
    code = "print(open('a/b.txt').read(), len(open('c.bin', 'rb').read()))"
    assert sandbox.run(code, files=given).printed == "é 2\n"
    assert sandbox.run("open('a/b.txt')").ended == "error"


def test_files_come_back_from_bubblewrap() -> None:
    sandbox = opened("bubblewrap")
    code = "import os\nos.makedirs('n')\nopen('n/x', 'w').write('1')\nopen('a', 'a').write('2')\nos.remove('b')"
    outcome = sandbox.run(code, files={"a": b"1", "b": b"1", "c": b"1"}, collect=True)
    assert outcome.files == {"n/x": b"1", "a": b"12"}


def opened(name: str) -> Any:
    try:
        return open_sandbox(name)
    except RungError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "", "a\0b", "a\\b", "./x", "C:x", "x" * 300])
def test_names_that_leave_the_folder_are_refused(sandbox: CodeSandbox, name: str) -> None:
    with pytest.raises(InputError) as raised:
        sandbox.run("1", files={name: b""})
    assert raised.value.code == "path"


def test_code_and_files_have_an_end(sandbox: CodeSandbox) -> None:
    for code, files in (("x" * 200_001, {}), ("'\ud800'", {}), ("1", {"a": b"x" * (2 << 20)})):
        with pytest.raises(InputError):
            sandbox.run(code, files=files, quota=Quota(disk=1))


@pytest.mark.parametrize("quota", [{"seconds": 0}, {"memory": -1}, {"output": float("nan")}, {"disk": float("inf")}])
def test_a_quota_is_a_number_above_zero(quota: dict[str, Any]) -> None:
    with pytest.raises(InputError) as raised:
        Quota(**quota)
    assert raised.value.code == "quota"


def test_a_run_of_monty_can_pause_and_go_on_elsewhere() -> None:
    first = opened("monty")
    paused = first.begin("a = look('x', n=2)\nprint(a)\nb = look(a)\na + b", ["look"])
    assert isinstance(paused, Paused)
    assert (paused.function, paused.arguments, dict(paused.named)) == ("look", ("x",), {"n": 2})
    assert len(paused.state) < 10_000
    first.close()
    second = Monty()
    again = second.go_on(paused.state, ["look"], result="Q")
    assert isinstance(again, Paused)
    assert (again.printed, again.arguments) == ("Q\n", ("Q",))
    done = second.go_on(again.state, ["look"], result="R")
    assert isinstance(done, Outcome)
    assert done.value == "'QR'"
    failed = second.go_on(again.state, ["look"], error="no such thing")
    assert isinstance(failed, Outcome)
    assert failed.error == "RuntimeError: no such thing"
    second.close()


def test_a_function_that_was_not_given_is_no_name() -> None:
    sandbox = opened("monty")
    outcome = sandbox.begin("other(1)", ["look"])
    assert isinstance(outcome, Outcome)
    assert "other" in outcome.error
    caught = sandbox.begin("try:\n    look()\nexcept RuntimeError as e:\n    print(e)", ["look"])
    assert isinstance(caught, Paused)
    assert sandbox.go_on(caught.state, ["look"], error="why").printed == "why\n"
    sandbox.close()


def test_a_snapshot_that_is_none_is_an_error() -> None:
    sandbox = opened("monty")
    outcome = sandbox.go_on(b"nonsense", [])
    assert isinstance(outcome, Outcome)
    assert not outcome.done
    assert sandbox.run("1").value == "1"
    sandbox.close()


def test_without_a_sandbox_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Any:
        raise Unsupported("not here", code="no-sandbox")

    monkeypatch.setattr(monty, "open_monty", none)
    monkeypatch.setattr(bubblewrap, "open_bubblewrap", none)
    with pytest.raises(Unsupported) as raised:
        open_sandbox()
    assert raised.value.code == "no-sandbox"
    assert "pip install" in raised.value.remedy


def test_a_sandbox_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydantic_monty", None)
    with pytest.raises(Unsupported) as raised:
        open_sandbox("monty")
    assert raised.value.code == "no-sandbox"
    with pytest.raises(InputError):
        open_sandbox("mounty")
    assert gate.AUTO == ("monty", "bubblewrap")


def test_no_bwrap_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    bubblewrap.find_bwrap.cache_clear()
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(bubblewrap, "find_spec", lambda _: None)
    with pytest.raises(Unsupported) as raised:
        bubblewrap.find_bwrap()
    assert raised.value.code == "no-sandbox"
    bubblewrap.find_bwrap.cache_clear()


def test_the_filter_is_made_for_known_processors() -> None:
    for machine in ("x86_64", "aarch64"):
        assert len(seccomp.program(machine)) % 8 == 0
    with pytest.raises(Unsupported):
        seccomp.program("riscv64")
