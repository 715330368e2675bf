"""``rung prompt optimize`` against DSPy's optimizers: same model, same examples, the same number of model calls.

    RUNG_DATA=FOLDER python bench/optimize.py --peer PYTHON_WITH_DSPY [--sets banking77 sst2 gsm8k] [--optimizer random|mipro]

For each set the same train, dev and test examples go to both sides. DSPy asks the model at ``rung serve -m MODEL`` from its own
threads (ChatAdapter, labels as Literal, temperature 0, the same limit of new tokens); its calls are counted in the server's
access log, and ``rung prompt optimize --calls`` is given the same number, on the embedded engine. Neither side's answers to test
count in the budget or the wall time; both take their one look at test at the end. DSPy's memory cache is on (a repeated request
costs it no call), its disk cache is off. Wall time is of the search alone: for DSPy with a warm server, for rung with loading
the model.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

MODEL = "openvino:smollm2-135m"
PARTS: tuple[Literal["train", "dev", "test"], ...] = ("train", "dev", "test")
SIZES = {"banking77": (200, 48, 100), "sst2": (200, 48, 100), "gsm8k": (60, 40, 100)}
"""Examples of train, dev and test."""
TOKENS = 64
"""New tokens of an answer at most, on both sides."""
FEW = 10
"""Intents of banking77."""


# ---------------------------------------------------------------- the same examples for both


def prepare(name: str, folder: Path) -> dict[str, Any]:
    """A task folder for rung, and the same as JSON for the peer."""
    import yaml

    from rung import tasks
    from rung.core.types import Example

    source = yaml.safe_load((Path(__file__).parent / "tasks" / f"{name}.yaml").read_text(encoding="utf-8"))
    whole = {key: value for key, value in source.items() if key not in ("limit", "rungs")}
    (folder / "whole.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    task = tasks.load(folder / "whole.yaml")
    labels = list(task.form.labels)
    if name == "banking77":
        labels = sorted(random.Random(0).sample(sorted(labels), FEW))
    parts: dict[str, list[dict[str, Any]]] = {}
    for split, size in zip(PARTS, SIZES[name], strict=True):
        rows: list[Example] = [e for e in task.split(split) if not labels or e.reference in labels]
        parts[split] = [{**e.input, "answer": e.reference} for e in rows[:size]]
        if len(parts[split]) < size:
            sys.exit(f"{name} has {len(parts[split])} {split} examples, wanted {size}")
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in parts[split])
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    (field,) = task.fields
    document = {
        "name": name,
        "instruction": task.instruction,
        "constraints": list(task.constraints),
        "persona": task.persona,
        "data": {split: f"{split}.jsonl" for split in parts},
        "columns": {"input": field, "reference": "answer"},
        "answer": {"labels": labels} if labels else task.form.kind,
        "metrics": [task.metrics[0]],
        "max_tokens": TOKENS,
        "split": {"duplicates": "keep"},
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    peer = {"instruction": task.instruction, "field": field, "labels": labels, "parts": parts, "tokens": TOKENS}
    (folder / "peer.json").write_text(json.dumps(peer, ensure_ascii=False), encoding="utf-8")
    return peer


# ---------------------------------------------------------------- DSPy, in its own interpreter


def peer(file: Path, base: str, optimizer: str, candidates: int, threads: int) -> None:
    import logging
    from typing import Literal

    import dspy

    logging.disable(logging.INFO)
    given = json.loads(file.read_text(encoding="utf-8"))
    lm = dspy.LM(f"openai/{MODEL}", api_base=base, api_key="none", temperature=0.0, max_tokens=given["tokens"])
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    dspy.configure(lm=lm)
    kind: Any = Literal[tuple(given["labels"])] if given["labels"] else float
    fields: dict[str, Any] = {given["field"]: (str, dspy.InputField()), "answer": (kind, dspy.OutputField())}
    program = dspy.Predict(dspy.Signature(fields, given["instruction"]))

    def right(example: Any, prediction: Any, trace: Any = None) -> bool:
        said = getattr(prediction, "answer", None)
        if given["labels"]:
            return bool(said == example.answer)
        try:
            return abs(float(said) - float(str(example.answer).replace(",", ""))) < 1e-6  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return False

    sets = {
        split: [dspy.Example(**row).with_inputs(given["field"]) for row in rows]
        for split, rows in given["parts"].items()
    }

    def score(module: Any, split: str) -> list[bool]:
        evaluate = dspy.Evaluate(
            devset=sets[split], metric=right, num_threads=threads, max_errors=10**6, provide_traceback=False
        )
        return [bool(one[2]) for one in evaluate(module).results]

    mark = Path(file.parent / "mark")
    mark.write_text("search")
    began = time.monotonic()
    if optimizer == "random":
        search = dspy.BootstrapFewShotWithRandomSearch(
            metric=right, num_candidate_programs=candidates, num_threads=threads, max_errors=10**6
        )
        best = search.compile(program, trainset=sets["train"], valset=sets["dev"])
        dev = best.candidate_programs[0]["score"] / 100
    else:
        mipro = dspy.MIPROv2(
            metric=right, auto=None, num_candidates=candidates, num_threads=threads, max_errors=10**6, seed=0
        )
        best = mipro.compile(
            program, trainset=sets["train"], valset=sets["dev"], num_trials=candidates + 2, minibatch=False
        )
        dev = best.score / 100
    wall = time.monotonic() - began
    print("SEARCHED", flush=True)
    sys.stdin.readline()  # the parent reads the server's log, then lets the look at test begin
    test = score(best, "test")
    demos = sum(len(one.demos) for one in best.predictors())
    said = best.predictors()[0].signature.instructions
    print("RESULT " + json.dumps({"dev": dev, "test": test, "wall": wall, "demos": demos, "said": said}), flush=True)


# ---------------------------------------------------------------- the bench


class Server:
    """``rung serve -m MODEL`` with its access log in a file."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}/v1"
        self.log = folder / "server.log"
        code = (
            "import logging, sys; logging.basicConfig(level=logging.INFO); "
            f"sys.argv = ['rung', 'serve', '-m', {MODEL!r}, '--port', '{port}', '--waiting', '4096']; "
            "from rung.cli.main import main; main()"
        )
        self._stream = self.log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=folder, stdout=self._stream, stderr=self._stream
        )
        deadline = time.monotonic() + 120
        while "serving at" not in self.log.read_text() or not self._ready(port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.2)

    def _ready(self, port: int) -> bool:
        import urllib.request

        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def calls(self) -> int:
        return len(re.findall(r"POST /v1/chat/completions \d", self.log.read_text()))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)
        self._stream.close()


def run_peer(python: str, folder: Path, optimizer: str, candidates: int, threads: int) -> dict[str, Any]:
    server = Server(folder)
    try:
        words = ["--inner", str(folder / "peer.json"), server.base, optimizer, str(candidates), str(threads)]
        with (folder / "peer.log").open("w") as errors:
            process = subprocess.Popen(
                [python, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            assert process.stdin is not None
            assert process.stdout is not None
            calls, found = 0, None
            for line in process.stdout:
                if line.startswith("SEARCHED"):
                    calls = server.calls()
                    process.stdin.write("go\n")
                    process.stdin.flush()
                elif line.startswith("RESULT "):
                    found = json.loads(line.removeprefix("RESULT "))
            process.wait()
        if found is None:
            sys.exit(f"the peer failed:\n{(folder / 'peer.log').read_text()[-3000:]}")
        return {**found, "calls": calls, "test_calls": server.calls() - calls}
    finally:
        server.close()


def run_rung(folder: Path, calls: int, seed: int, model: str) -> dict[str, Any]:
    """The command as a user types it, with a store of its own: nothing is known from before."""
    home = Path(tempfile.mkdtemp(dir=folder))
    environment = {**os.environ, "RUNG_HOME": str(home), "RUNG_STORE": f"sqlite:///{home / 'rung.db'}"}
    words = ["prompt", "optimize", str(folder / "task.yaml"), "-m", model, "--calls", str(calls), "--seed", str(seed)]
    words += ["--json", "-q", "--out", str(home / "program")]
    code = f"import sys; sys.argv = ['rung', *{words!r}]; from rung.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer", required=True, help="interpreter of an environment with dspy")
    parser.add_argument("--sets", nargs="*", default=list(SIZES))
    parser.add_argument("--optimizer", choices=("random", "mipro"), default="random")
    parser.add_argument("--candidates", type=int, default=2, help="of DSPy's optimizer")
    parser.add_argument("--threads", type=int, default=32, help="DSPy's threads")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0], help="seeds of rung's search")
    parser.add_argument("--served", action="store_true", help="rung asks the same server too, once more")
    parser.add_argument("--keep", type=Path, help="folder for what both sides wrote")
    args = parser.parse_args()
    from rung.metrics.stats import wilson

    version = subprocess.run(
        [args.peer, "-c", "from importlib.metadata import version; print(version('dspy'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    title = {"random": "BootstrapFewShotWithRandomSearch", "mipro": "MIPROv2"}[args.optimizer]
    print(
        f"DSPy {version} {title}, {args.candidates} candidates, {args.threads} threads; Python {platform.python_version()}; "
    )
    print("| set | side | calls | dev | test [95%] | wall | load |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in args.sets:
        folder = (args.keep or Path(tempfile.mkdtemp())) / f"{name}-{args.optimizer}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        prepare(name, folder)
        found = run_peer(args.peer, folder, args.optimizer, args.candidates, args.threads)
        span = wilson(sum(found["test"]), len(found["test"]))
        print(
            f"| {name} | DSPy | {found['calls']} | {found['dev']:.3f} | {span.value:.3f} [{span.low:.2f}, {span.high:.2f}] "
            f"| {found['wall']:.1f} s | {os.getloadavg()[0]:.1f} |",
            flush=True,
        )
        (folder / "dspy.json").write_text(json.dumps(found, indent=1))
        for seed in args.seeds:
            show(name, f"rung, seed {seed}", run_rung(folder, found["calls"], seed, MODEL), folder, found["wall"])
        if args.served:
            (folder / "served").mkdir()
            server = Server(folder / "served")
            try:
                model = f"openai:{MODEL}@{server.base}"
                ours = run_rung(folder, found["calls"], args.seeds[0], model)
            finally:
                server.close()
            show(name, f"rung at the server, seed {args.seeds[0]}", ours, folder, found["wall"])


def show(name: str, side: str, found: dict[str, Any], folder: Path, wall: float) -> None:
    (folder / f"{side.replace(', ', '-').replace(' ', '-')}.json").write_text(json.dumps(found, indent=1))
    test, end = found["tested"]["best"], found["end"]
    print(
        f"| {name} | {side} | {end['calls']} | {end['best']:.3f} (start {end['start']:.3f}) | "
        f"{test['value']:.3f} [{test['low']:.2f}, {test['high']:.2f}] | {found['seconds']:.1f} s "
        f"({found['seconds'] / wall:.2f}x) | {os.getloadavg()[0]:.1f} |",
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inner"]:
        peer(Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
    else:
        main()
