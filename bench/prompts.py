"""Rendering 10,000 few-shot chat prompts: rung against LangChain's ChatPromptTemplate and DSPy's ChatAdapter.

The peers live in an environment of their own (pip install langchain-core dspy); name its interpreter in RUNG_BENCH_PEERS.
Every library renders the same inputs with the same examples; rung and LangChain make the same messages (checked), DSPy's
adapter makes its own (it writes field headers), so that only the number of examples and the data are the same there.
Runs alternate, processes are timed by CPU, medians are shown.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

N = int(os.environ.get("RUNG_BENCH_N", "10000"))
ROUNDS = 3
SYSTEM = "Say which intent the customer's message has.\n\nAnswer with exactly one label and nothing else."
SHOTS = [(f"Example message number {i}: where is the parcel with my {w}?", f"intent_{i % 3}") for i, w in enumerate(
    ["tent", "lamp", "stove", "rope", "boot"])]  # fmt: skip
TEXTS = [f"Message {i}: I ordered item {i * 7} and it has not come; what now?" for i in range(N)]


def varied(at: int) -> list[tuple[str, str]]:
    """Five examples that differ from input to input, as kNN selection gives them (from a pool of 200)."""
    return [(f"Pool message {(at * 13 + j * 29) % 200}: the {j} broke", f"intent_{j % 3}") for j in range(5)]


def rung(kind: str) -> Callable[[], object]:
    from rung.core.types import Example
    from rung.prompts.template.prompt import Prompt

    prompt = Prompt(SYSTEM)
    fixed = tuple(Example(str(i), {"text": text}, label) for i, (text, label) in enumerate(SHOTS))
    if kind == "fixed":
        return lambda: [prompt.render({"text": text}, fixed) for text in TEXTS]
    pool: dict[str, Example] = {}
    chosen = [
        [pool.setdefault(text + label, Example("", {"text": text}, label)) for text, label in varied(at)]
        for at in range(N)
    ]
    return lambda: [prompt.render({"text": text}, shots) for text, shots in zip(TEXTS, chosen, strict=True)]


def langchain(kind: str) -> Callable[[], object]:
    from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder

    if kind == "fixed":
        turns = [turn for text, label in SHOTS for turn in (("human", text), ("ai", label))]
        template = ChatPromptTemplate.from_messages([("system", SYSTEM), *turns, ("human", "{text}")])
        return lambda: [template.format_messages(text=text) for text in TEXTS]
    template = ChatPromptTemplate.from_messages([("system", SYSTEM), MessagesPlaceholder("shots"), ("human", "{text}")])
    chosen = [[turn for text, label in varied(at) for turn in (("human", text), ("ai", label))] for at in range(N)]
    return lambda: [template.format_messages(text=text, shots=shots) for text, shots in zip(TEXTS, chosen, strict=True)]


def dspy(kind: str) -> Callable[[], object]:
    import dspy as library

    signature = library.Signature("text -> intent", SYSTEM)
    adapter = library.ChatAdapter()

    def demos(shots: list[tuple[str, str]]) -> list[object]:
        return [library.Example(text=text, intent=label) for text, label in shots]

    fixed = demos(SHOTS)
    chosen = [fixed] * N if kind == "fixed" else [demos(varied(at)) for at in range(N)]
    return lambda: [
        adapter.format(signature, demos=shots, inputs={"text": text}) for text, shots in zip(TEXTS, chosen, strict=True)
    ]


LIBRARIES = {"rung": rung, "langchain": langchain, "dspy": dspy}


def serve(name: str) -> None:
    """Render once for each kind that is asked for on stdin; answer with CPU seconds and the first and last messages."""
    work = {kind: LIBRARIES[name](kind) for kind in ("fixed", "varied")}
    for line in sys.stdin:
        started = time.process_time()
        out = work[line.strip()]()
        seconds = time.process_time() - started
        shown = []
        for messages in (out[0], out[-1]):  # type: ignore[index]
            plain = [
                [m["role"], m["content"]]
                if isinstance(m, dict)
                else [getattr(m, "role", getattr(m, "type", "")), m.content]
                for m in messages
            ]
            shown.append([[{"human": "user", "ai": "assistant"}.get(role, role), text] for role, text in plain])
        print(json.dumps({"seconds": seconds, "shown": shown}), flush=True)


def version(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    peers = os.environ.get("RUNG_BENCH_PEERS", "")
    if not peers:
        sys.exit("name the interpreter of an environment with langchain-core and dspy: RUNG_BENCH_PEERS=.../bin/python")
    pythons = {"rung": sys.executable, "langchain": peers, "dspy": peers}
    processes = {
        name: subprocess.Popen(
            [python, __file__, "--serve", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name, python in pythons.items()
    }
    versions = {
        "rung": version(sys.executable, "rung"),
        "langchain": version(peers, "langchain-core"),
        "dspy": version(peers, "dspy"),
    }
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else "?"
    print(f"{N:,} chat prompts of 5 examples; {ROUNDS} alternating rounds; CPU seconds, medians; "
          f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}")  # fmt: skip
    for kind in ("fixed", "varied"):
        seconds: dict[str, list[float]] = {name: [] for name in processes}
        shown: dict[str, object] = {}
        for _ in range(ROUNDS):
            for name, process in processes.items():
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(kind + "\n")
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                seconds[name].append(answer["seconds"])
                shown[name] = answer["shown"]
        assert shown["rung"] == shown["langchain"], "rung and LangChain do not make the same messages"
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        for name, value in medians.items():
            print(f"{kind:<7} {name:<10} {versions[name]:<8} {value:8.3f} s  {1e6 * value / N:8.1f} us a prompt  "
                  f"{value / medians['rung']:7.1f} x rung")  # fmt: skip
    for process in processes.values():
        process.terminate()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
