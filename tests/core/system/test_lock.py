"""One holder at a time, in one process and between two; a dead holder lets go."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rung.core.system.lock import file_lock, file_lock_async

HOLDER = """
import sys, time
from pathlib import Path
from rung.core.system.lock import file_lock
with file_lock(Path(sys.argv[1]), lambda _: time.sleep(0.01)):
    print("held", flush=True)
    time.sleep(60)
"""


class GaveUp(Exception):
    pass


def give_up(waited: float) -> None:
    raise GaveUp


def test_the_second_holder_waits_and_may_give_up(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with file_lock(path, give_up), pytest.raises(GaveUp), file_lock(path, give_up):
        raise AssertionError("two held it at once")
    with file_lock(path, give_up):
        pass


def test_an_error_inside_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), file_lock(tmp_path / ".lock", give_up):
        raise ValueError("inside")
    with file_lock(tmp_path / ".lock", give_up):
        pass


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(GaveUp), file_lock(path, give_up):
            raise AssertionError("two processes held it at once")
        other.kill()
    with file_lock(path, lambda _: time.sleep(0.01)):
        pass


async def test_coroutines_take_turns(tmp_path: Path) -> None:
    inside, most = 0, 0
    waits: list[float] = []

    async def pause(waited: float) -> None:
        waits.append(waited)
        await asyncio.sleep(0.001)

    async def work() -> None:
        nonlocal inside, most
        async with file_lock_async(tmp_path / ".lock", pause):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.005)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(5)))
    assert most == 1
    assert waits
    assert waits[-1] >= waits[0] >= 0


def test_a_folder_in_the_way_is_an_error_not_a_wait(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"), file_lock(tmp_path, give_up):
        pass
