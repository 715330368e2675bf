"""Start-up: `import rung` and `rung --help` beside `import dspy`, interleaved.

python bench/front.py [--peer PYTHON_WITH_DSPY] [--rounds 7]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from statistics import median


def timed(python: str, code: str) -> float:
    started = time.perf_counter()
    subprocess.run([python, "-c", code], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", default="", help="an interpreter that has dspy")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    help_code = "import sys; sys.argv = ['rung', '--help']; from rung.cli.main import main; main()"
    rows = {
        "bare python": (sys.executable, "pass"),
        "import rung": (sys.executable, "import rung"),
        "rung --help": (sys.executable, help_code),
    }
    if given.peer:
        code = "import importlib.metadata as m; print(m.version('dspy'))"
        version = subprocess.run([given.peer, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        rows[f"import dspy {version}"] = (given.peer, "import dspy")
    else:
        print("dspy: not installed (name an interpreter that has it with --peer)")
    times: dict[str, list[float]] = {name: [] for name in rows}
    for python, code in rows.values():
        timed(python, code)  # bytecode
    for _ in range(given.rounds):
        for name, (python, code) in rows.items():
            times[name].append(timed(python, code))
    print(f"median of {given.rounds}, interleaved, load {os.getloadavg()[0]:.1f}")
    base = median(times["import rung"])
    for name, taken in times.items():
        print(f"{name:24} {median(taken):7.3f} s   min {min(taken):.3f}   {median(taken) / base:6.1f} x import rung")


if __name__ == "__main__":
    main()
