"""The embedded engine beside its peers: many prompts with a common prefix, and one stream.

    python bench/engine.py --llama PEER/bin/python [--transformers PEER/bin/python]

Shared prefix: 64 prompts that share 400 tokens, 32 new greedy tokens each, no stop; every round has a new prefix, so that
everybody's cache is cold. All get the same token ids. openvino-genai is handed the list in one call with prefix caching on;
llama-cpp-python takes the prompts one after another and keeps the prefix that matches (what its ``Llama.generate`` does);
transformers runs one batch in bfloat16. One stream: 128 new tokens after a short prompt, beside ``openvino_genai.LLMPipeline``.

openvino-genai computes the very graph that rung computes: its own reading of a Q4_1 file is wrong (it rounds the offsets, see
``rung.models.engine.files.gguf.recode``) and has half the bytes; that reading is shown beside it for one stream. llama-cpp-python and
transformers read the GGUF file itself. With ``--rounds 0`` only the one stream is measured.

Without bfloat16 openvino-genai is told to compute in float32 without quantizing activations: as it comes it dies there
where oneDNN is held to AVX2 on a processor that has more. A peer that is not installed is printed as such. Rounds alternate; medians are printed with every round's figure.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WORDS = re.findall(
    r"\w+",
    """river stone market letter window garden bridge winter money engine paper silver island doctor village music
    answer kitchen number forest history question teacher machine travel summer bottle language mountain station morning colour""",
)


def text(source: random.Random, words: int) -> str:
    return " ".join(source.choice(WORDS) for _ in range(words))


# ---------------------------------------------------------------- peers, each in its own process


def serve(kind: str, path: Path, threads: int) -> None:
    """Answer lines of JSON {"prompts": token ids, "new": tokens} with {"seconds": ...}. Runs in the peer's interpreter."""
    out = sys.stdout
    sys.stdout = sys.stderr
    try:
        run, version = {"llama": _llama, "transformers": _transformers}[kind](path, threads)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}), file=out, flush=True)
        return
    print(json.dumps({"version": version}), file=out, flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        started, cpu = time.perf_counter(), time.process_time()
        run(job["prompts"], job["new"])
        print(json.dumps([time.perf_counter() - started, time.process_time() - cpu]), file=out, flush=True)


def _llama(path: Path, threads: int) -> tuple[Callable[[list[list[int]], int], None], str]:
    import llama_cpp

    model = llama_cpp.Llama(str(path), n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False)

    def run(prompts: list[list[int]], new: int) -> None:
        for prompt in prompts:
            made = sum(1 for _ in itertools.islice(model.generate(prompt, temp=0.0), new))
            assert made == new

    return run, f"llama-cpp-python {llama_cpp.__version__}"


def _transformers(path: Path, threads: int) -> tuple[Callable[[list[list[int]], int], None], str]:
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.bfloat16
    ).eval()

    def run(prompts: list[list[int]], new: int) -> None:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
        with torch.inference_mode():
            model.generate(
                ids, attention_mask=mask, min_new_tokens=new, max_new_tokens=new, do_sample=False, pad_token_id=0
            )

    return run, f"transformers {transformers.__version__} (torch {torch.__version__}, bfloat16)"


class Peer:
    def __init__(self, kind: str, python: str, path: Path, threads: int) -> None:
        self.name = kind
        try:
            self._process = subprocess.Popen(
                [python, __file__, "--serve", kind, "--gguf", str(path), "--threads", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._process.stdout is not None
            hello = json.loads(self._process.stdout.readline() or '{"missing": "it did not start"}')
        except OSError as error:
            hello = {"missing": str(error)}
        self.version: str = hello.get("version", "")

    def run(self, prompts: Sequence[Sequence[int]], new: int) -> tuple[float, float]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompts": [list(p) for p in prompts], "new": new}) + "\n")
        self._process.stdin.flush()
        seconds, cpu = json.loads(self._process.stdout.readline())
        return seconds, cpu

    def close(self) -> None:
        if self.version:
            self._process.terminate()
            self._process.wait()


# ---------------------------------------------------------------- the bench


def show(title: str, tokens: int, rounds: dict[str, list[tuple[float, float]]], goals: dict[str, float]) -> None:
    print(f"\n{title}")
    print(
        f"{'':16}{'tokens/s':>10}{'per CPU s':>10}{'rung is':>10}{'by CPU':>8}{'goal':>8}   seconds (CPU s) of each round"
    )
    ours = rounds["rung"]
    for name, values in rounds.items():
        if not values:
            print(f"{name:16}  did not run")
            continue
        wall, cpu = (statistics.median(v[i] for v in values) for i in (0, 1))
        # Ratios are taken within a round, because the machine's load changes between rounds.
        ratio, by_cpu = (statistics.median(v[i] / o[i] for v, o in zip(values, ours, strict=False)) for i in (0, 1))
        goal = f">= {goals[name]}" if name in goals else ""
        each = " ".join(f"{w:.2f} ({c:.2f})" for w, c in values)
        print(f"{name:16}{tokens / wall:10.1f}{tokens / cpu:10.1f}{ratio:9.2f}x{by_cpu:7.2f}x{goal:>8}   {each}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--model", default="smollm2-135m")
    arguments.add_argument("--llama", default=sys.executable, help="interpreter that has llama-cpp-python")
    arguments.add_argument(
        "--transformers", default=sys.executable, help="interpreter that has torch, transformers, gguf"
    )
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--slow-rounds", type=int, default=3, help="rounds in which transformers takes part")
    arguments.add_argument("--prompts", type=int, default=64)
    arguments.add_argument("--prefix", type=int, default=400)
    arguments.add_argument("--new", type=int, default=32)
    arguments.add_argument("--streams", type=int, default=5)
    arguments.add_argument("--serve", help=argparse.SUPPRESS)
    arguments.add_argument("--gguf", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--threads", type=int, default=0)
    given = arguments.parse_args()
    if given.serve:
        serve(given.serve, given.gguf, given.threads)
        return

    import os

    import numpy as np
    import openvino
    import openvino_genai as genai

    from rung.core.settings import Settings
    from rung.core.system.machine import machine
    from rung.core.types import Sampling
    from rung.models import hub
    from rung.models.engine.decode import Decode, Words
    from rung.models.engine.openvino.engine import Engine, choose_precision

    settings = Settings()
    threads = given.threads or len(os.sched_getaffinity(0))
    path = hub.locate(given.model, settings.cache)
    peers = [Peer("llama", given.llama, path, threads), Peer("transformers", given.transformers, path, threads)]
    engine = Engine(path, settings.cache, threads, choose_precision(str(settings["precision"]), machine()))
    engine.load()
    endless = Words(engine.words.pieces, frozenset())
    limits = genai.SchedulerConfig()
    limits.cache_size, limits.enable_prefix_caching, limits.max_num_batched_tokens = 2, True, 2048
    limits.max_num_seqs = 64
    tokenizer = genai.Tokenizer(path)
    same = engine.graph().parent
    options: Any = {"INFERENCE_NUM_THREADS": threads}
    if not machine().bfloat16:
        options |= {
            "INFERENCE_PRECISION_HINT": "f32",
            "KV_CACHE_PRECISION": "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
    pipe = genai.ContinuousBatchingPipeline(same, tokenizer, limits, "CPU", **options)
    singles = {
        "openvino-genai": genai.LLMPipeline(same, tokenizer, "CPU", **options),
        "genai's reading": genai.LLMPipeline(path, "CPU", **options),
    }
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the start")
    print(
        f"openvino {openvino.__version__}, openvino-genai {genai.__version__}, {threads} threads, model {given.model}"
    )
    print(f"processor: {machine().describe()}")
    for peer in peers:
        print(f"{peer.name}: {peer.version or 'not installed'}")

    def config(new: int) -> Any:
        made = genai.GenerationConfig()
        made.max_new_tokens, made.ignore_eos, made.apply_chat_template = new, True, False
        return made

    def tensor(prompt: Sequence[int]) -> Any:
        return openvino.Tensor(np.asarray([prompt], np.int64))

    async def ours(prompts: Sequence[Sequence[int]], new: int) -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        jobs = [Decode(tuple(p), new, "rung", endless, Sampling(max_tokens=new), None) for p in prompts]
        engine.worker.submit(jobs)
        replies = await asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs))
        spent = time.perf_counter() - started, time.process_time() - cpu
        assert all(reply.usage.completion_tokens == new for reply in replies)
        return spent

    def cold(prompts: Sequence[Sequence[int]], new: int) -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        results = pipe.generate([tensor(p) for p in prompts], [config(new)] * len(prompts))
        assert len(results) == len(prompts)
        return time.perf_counter() - started, time.process_time() - cpu

    def raw(single: Any, prompt: Sequence[int], new: int) -> tuple[float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        single.generate(tensor(prompt), config(new))
        return time.perf_counter() - started, time.process_time() - cpu

    async def measure() -> None:
        source = random.Random(11)
        rounds: dict[str, list[tuple[float, float]]] = {
            "rung": [],
            "openvino-genai": [],
            "llama": [],
            "transformers": [],
        }
        warm = [engine.encode(text(source, 20)) for _ in range(2)]
        await ours(warm, 2)
        cold(warm, 2)
        for peer in peers:
            if peer.version:
                peer.run(warm, 2)
        for index in range(given.rounds):
            prefix = engine.encode(text(source, given.prefix * 2))[: given.prefix]
            prompts = [prefix + engine.encode(f" {i}. {text(source, 12)}?") for i in range(given.prompts)]
            order = list(rounds)
            for name in order[index % 4 :] + order[: index % 4]:
                print(f"  round {index + 1}: {name}", file=sys.stderr, flush=True)
                if name == "rung":
                    rounds[name].append(await ours(prompts, given.new))
                elif name == "openvino-genai":
                    rounds[name].append(cold(prompts, given.new))
                else:
                    peer = next(p for p in peers if p.name == name)
                    if peer.version and (name != "transformers" or index < given.slow_rounds):
                        rounds[name].append(peer.run(prompts, given.new))
        title = f"{given.prompts} prompts sharing {given.prefix} tokens, {given.new} new tokens each, caches cold"
        goals = {"openvino-genai": 3.5, "llama": 5.0, "transformers": 9.0}
        if given.rounds:
            show(title, given.prompts * given.new, rounds, goals)
        streams: dict[str, list[tuple[float, float]]] = {"rung": [], **{name: [] for name in singles}}
        for single in singles.values():
            raw(single, warm[0], 8)
        for index in range(given.streams):
            prompt = engine.encode(text(source, 20))
            order = list(streams)
            for name in order[index % len(order) :] + order[: index % len(order)]:
                spent = await ours([prompt], 128) if name == "rung" else raw(singles[name], prompt, 128)
                streams[name].append(spent)
        show("one stream, 128 new tokens", 128, streams, {"openvino-genai": 0.95})

    asyncio.run(measure())
    engine.close()
    for peer in peers:
        peer.close()


if __name__ == "__main__":
    main()
