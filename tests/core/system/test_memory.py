"""Freed memory goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rung.core.system import memory

HOARD = """
import os
from rung.core.system.memory import release

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20

blocks = [b"x" * 65_536 for _ in range(2_000)]
last = b"x" * 65_536  # keeps the C library from giving back what lies below it
del blocks
before = resident()
release()
print(before - resident())
"""


@pytest.mark.skipif(memory._trim() is None, reason="only glibc can be told to give memory back")
def test_what_was_freed_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOARD], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere getrusage's own figure is taken")
def test_the_peak_is_this_processs_own_and_not_that_of_who_started_it() -> None:
    held = bytearray(300 << 20)
    held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
    said = "from rung.core.system.memory import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200 << 20 < len(held) < memory.peak_memory()
