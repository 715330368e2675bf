"""Hostile code in both tiers: it gets nothing, the host stays small, and what follows runs as before."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rung.core.errors import RungError
from rung.sandbox import CodeSandbox, Outcome, Quota, open_sandbox
from tests.sandbox import attacks

SECRET = "canary-5c1f"
QUOTA = Quota(seconds=2, memory=128, output=10_000, disk=8)
BRIEF = Quota(seconds=0.3, memory=128, output=10_000, disk=8)
GROWTH = 64 << 20


@pytest.fixture(scope="module", params=["monty", "bubblewrap"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[CodeSandbox]:
    try:
        opened = open_sandbox(request.param)
    except RungError as error:
        pytest.skip(error.message)
    yield opened
    opened.close()


@pytest.fixture
def prelude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host that leaks where it can: a secret in the environment, in a file, on an inheritable descriptor; a server that listens."""
    monkeypatch.setenv("RUNG_TEST_SECRET", SECRET)
    path = tmp_path / "secret.txt"
    path.write_text(SECRET)
    leaked = os.open(path, os.O_RDONLY)
    os.set_inheritable(leaked, True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        # The secret's name is put together inside, so that the code itself does not hold it.
        yield (f"SECRET = '{SECRET[:4]}' + '{SECRET[4:]}'\nPATH = {str(path)!r}\nPORT = {server.getsockname()[1]}\n")
    os.close(leaked)


def shown(outcome: Outcome) -> str:
    return f"{outcome.printed}\n{outcome.value}\n{outcome.traceback}"


def cases(*groups: dict[str, str]) -> pytest.MarkDecorator:
    items = {name: code for group in groups for name, code in group.items()}
    return pytest.mark.parametrize("code", items.values(), ids=items)


@cases(attacks.READS, attacks.NETWORK, attacks.PROCESSES, attacks.WRITES)
def test_nothing_is_reached(sandbox: CodeSandbox, prelude: str, code: str) -> None:
    outcome = sandbox.run(prelude + code, quota=QUOTA)
    assert attacks.ESCAPED not in outcome.printed, outcome
    assert SECRET not in outcome.printed
    assert sandbox.run("6 * 7", quota=QUOTA).value == "42"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86_64")
@cases(attacks.SYSCALLS)
def test_system_calls_are_filtered(sandbox: CodeSandbox, code: str) -> None:
    outcome = sandbox.run(code, quota=QUOTA)
    assert attacks.ESCAPED not in outcome.printed, outcome
    if sandbox.name == "bubblewrap":
        assert outcome.ended in ("done", "crash"), outcome  # it was asked, and refused or killed


@pytest.fixture
def peak() -> Iterator[None]:
    """This process grows by no more than GROWTH meanwhile, at its highest."""

    def status(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(key))

    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        pytest.skip("this system does not say how large a process was")
    clear.write_text("5")  # the highest size begins anew
    before = status("VmRSS")
    yield
    assert status("VmHWM") - before < GROWTH


@cases(attacks.MEMORY)
def test_memory_has_an_end(sandbox: CodeSandbox, peak: None, code: str) -> None:
    outcome = sandbox.run(code, quota=QUOTA)
    assert outcome.ended in ("memory", "seconds", "crash"), outcome
    assert sandbox.run("6 * 7", quota=QUOTA).value == "42"


@cases(attacks.TIME)
def test_time_has_an_end(sandbox: CodeSandbox, code: str) -> None:
    outcome = sandbox.run(code, quota=BRIEF)
    assert outcome.ended == "seconds" or (sandbox.name == "monty" and outcome.error), outcome
    assert sandbox.run("6 * 7", quota=QUOTA).value == "42"


@cases(attacks.FLOODS)
def test_output_has_an_end(sandbox: CodeSandbox, peak: None, code: str) -> None:
    outcome = sandbox.run(code, quota=Quota(seconds=1, memory=128, output=10_000))
    assert len(outcome.printed) <= 10_000
    assert len(outcome.value) <= 10_000
    assert len(outcome.error) <= 10_000
    assert sandbox.run("6 * 7", quota=QUOTA).value == "42"


@cases(attacks.CRASHES)
def test_a_crash_is_an_outcome(sandbox: CodeSandbox, code: str) -> None:
    outcome = sandbox.run(code, quota=QUOTA)
    assert not outcome.done, outcome
    assert sandbox.run("6 * 7", quota=QUOTA).value == "42"


def test_forged_files_stay_in_the_folder() -> None:
    try:
        sandbox = open_sandbox("bubblewrap")
    except RungError as error:
        pytest.skip(error.message)
    frame = "import os\nname = b'../../x'\nos.write(3, b'f' + (len(name) + 2).to_bytes(4, 'little') + name + b'\\0y')\n"
    outcome = sandbox.run(
        frame + "open('kept', 'w').write('z')\nos.symlink('/dev/zero', 'endless')\nos.mkfifo('pipe')",
        quota=QUOTA, collect=True,
    )  # fmt: skip
    assert outcome.files == {"kept": b"z"}
