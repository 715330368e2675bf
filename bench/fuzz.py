"""Mutated inputs by the thousand: python bench/fuzz.py --kind table task docx pdf html markdown json --count 2000

Prints a line a kind: how the inputs ended. Exit code 1 when one ended in anything but a result or a clear error; ``--only N`` makes one
input again. The kinds are those of tests/fuzz_*.py.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.fuzz import Kind, run  # noqa: E402


def kinds() -> dict[str, Kind]:
    """Every kind by name: the tables KINDS of tests/fuzz_*.py."""
    found: dict[str, Kind] = {}
    for file in sorted((ROOT / "tests").glob("fuzz_*.py")):
        found |= importlib.import_module(f"tests.{file.stem}").KINDS
    return found


def main() -> int:
    known = kinds()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", nargs="+", choices=sorted(known), default=sorted(known))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    bad = 0
    for name in options.kind:
        with tempfile.TemporaryDirectory() as folder:
            if options.only is not None:
                print(name, known[name](random.Random(f"{options.seed}:{options.only}"), Path(folder)))
                continue
            began = time.process_time()
            outcome = run(known[name], options.count, Path(folder), options.seed)
        ends = ", ".join(f"{count:,} {end}" for end, count in outcome.ends.most_common())
        print(f"{name}: {options.count:,} inputs, {time.process_time() - began:.1f} s of CPU: {ends}", flush=True)
        for number, fault in outcome.faults[:10]:
            print(f"  --kind {name} --seed {options.seed} --only {number}: {fault}")
        bad += len(outcome.faults)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
