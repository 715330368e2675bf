"""Kill ``rung tune`` at random points, go on, and compare with a training that nobody killed: ``python bench/resume.py [--kills 20]``.

A random two-layer base, LoRA with dropout, bfloat16, a dev set, checkpoints every 3 steps. Each training has a folder of its own, is killed with
SIGKILL a drawn moment after a drawn step (0: while it loads; the last: while it writes), and the same command goes on to the end. Its losses,
dev checks and adapter must be those of the undisturbed one, bit by bit. The commands run in forks of one process that has imported torch, so that
the time goes into the training; one thread, as two on a busy machine mostly wait for each other. Exit status 1 when one differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' random base

from tests.desk import THINGS
from tests.tuning.conftest import write_gguf

from rung.core.system.extras import require

CONFIG = """
model: {base}
data: {rows}
dev: 0.2
method: lora
rank: 8
dropout: 0.1
batch: 4
epochs: 2
patience: 0
save_steps: 3
export: [adapter]
out: {out}
"""


def start(config: Path, folder: Path) -> int:
    """``rung tune`` in a fork; its process id."""
    child = os.fork()
    if child:
        return child
    os.chdir(folder)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["rung", "tune", str(config), "--no-preflight", "--no-parity"]
    code = 70
    try:
        from rung.cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        os._exit(code)


def run(config: Path, folder: Path) -> float:
    """To the end; the seconds it took."""
    began = time.monotonic()
    _, status = os.waitpid(start(config, folder), 0)
    if status:
        raise SystemExit(f"rung tune ended with status {status}:\n{(folder / 'log').read_text()}")
    return time.monotonic() - began


def steps(folder: Path) -> int:
    curves = folder / "out" / "curves.jsonl"
    return curves.read_bytes().count(b"\n") if curves.exists() else 0


def kill(config: Path, folder: Path, step: int, after: float) -> bool:
    """Kill it ``after`` so many seconds from the end of ``step``; False: it had ended."""
    child = start(config, folder)
    end = float("inf")
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        if end == float("inf") and steps(folder) >= step:
            end = time.monotonic() + after
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def outcome(out: Path) -> tuple[Any, ...]:
    trained = json.loads((out / "trained.json").read_text())["trained"]
    adapter = hashlib.sha256((out / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()
    return tuple(trained["losses"]), json.dumps(trained["checks"]), json.dumps(trained["best"]), adapter


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    for module in ("torch", "transformers", "peft"):
        require(module, "tuning", "this bench")
    import rung.tuning.work  # noqa: F401  before the forks

    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        os.environ["RUNG_CACHE"] = str(home / "cache")
        base = write_gguf(home / "tiny.gguf")
        rows = home / "rows.jsonl"
        rows.write_text(
            "".join(
                json.dumps(
                    {"prompt": " ".join(draw.choices(THINGS, k=draw.randint(3, 20))), "completion": draw.choice(THINGS)}
                )
                + "\n"
                for _ in range(48)
            )
        )

        def make(name: str) -> tuple[Path, Path]:
            folder = home / name
            folder.mkdir()
            config = folder / "tune.yaml"
            config.write_text(CONFIG.format(base=base, rows=rows, out=folder / "out"))
            return config, folder

        config, folder = make("first")
        run(config, folder)  # unpacks the base
        config, folder = make("whole")
        took = run(config, folder)
        wanted = outcome(folder / "out")
        total = len(wanted[0])
        print(f"undisturbed: {total} steps, {took:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        same, reached, resumed = 0, [], []
        for number in range(options.kills):
            config, folder = make(f"kill-{number}")
            while not kill(config, folder, draw.randint(0, total), draw.uniform(0, took / total)):
                for path in sorted((folder / "out").rglob("*"), reverse=True):
                    path.rmdir() if path.is_dir() else path.unlink()
            reached.append(steps(folder))
            run(config, folder)
            resumed.append(json.loads((folder / "out" / "trained.json").read_text())["trained"].get("resumed", 0))
            equal = outcome(folder / "out") == wanted
            same += equal
            print(
                f"  killed after step {reached[-1]}, went on from {resumed[-1]}: {'equal' if equal else 'DIFFERS'}",
                flush=True,
            )
        print(f"seed {options.seed}: killed after steps {sorted(reached)}, resumed from {sorted(resumed)}")
        print(
            f"{same} of {options.kills} trainings have the losses, dev checks and adapter of the undisturbed one, bit by bit"
        )
    return int(same < options.kills)


if __name__ == "__main__":
    sys.exit(main())
