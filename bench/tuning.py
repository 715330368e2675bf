"""LoRA supervised fine-tuning against TRL's SFTTrainer on the same rows in the same order: tokens/s, peak memory, loss.

    python bench/tuning.py --data FILE.jsonl.gz --peer PYTHON_WITH_TRL [--rows 48] [--repeats 3] [--threads 0]

FILE has one object a line with "prompt" and "response". Rows of 20 to 300 tokens are taken; chat template, answers masked in.
Every variant runs in a process of its own, from the same adapter, variants alternating; medians of all repeats are printed.
Tokens/s counts the rows' own tokens (no padding) over the whole training, optimizer included, loading excluded.
Variants: ours (LoRA over a bfloat16 base), ours-fp32, ours-upper and ours-upper-fp32 (adapters on the upper third of the layers), ours-qlora (NF4 base), ours-full, ours-full-fp32; trl-full; trl (SFTTrainer's defaults: bf16 autocast, gradient checkpointing); trl-fast (checkpointing off); trl-packed
(packing=True, 1024 tokens, checkpointing off); trl-fp32 and trl-packed-fp32 (the same without bfloat16, checkpointing off). The loss that is compared is over all rows after training, computed by one code.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RATE, BATCH, RANK, ALPHA = 2e-4, 8, 16, 32
VARIANTS = ("ours", "trl", "trl-fast", "trl-packed")
OURS = {
    "ours": {"precision": "bf16"},
    "ours-fp32": {"precision": "fp32"},
    "ours-upper": {"precision": "bf16", "upper": 1 / 3},
    "ours-upper-fp32": {"precision": "fp32", "upper": 1 / 3},
    "ours-qlora": {"method": "qlora"},
    "ours-full": {"method": "full", "rate": 3e-5, "precision": "bf16"},
    "ours-full-fp32": {"method": "full", "rate": 3e-5, "precision": "fp32"},
}
"""Our variants, by what of the recipe they change; more than the default ones are run when named with --variants."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--peer", default=sys.executable, help="a Python that has trl")
    parser.add_argument("--model", default="smollm2-135m", help="GGUF file or name")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--work", nargs=3, metavar=("VARIANT", "PLAN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return
    if options.data is None:
        parser.error("--data FILE is needed")
    with tempfile.TemporaryDirectory() as scratch:
        plan = make_plan(options, Path(scratch))
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in options.variants.split(",")}
        for repeat in range(options.repeats):
            for name in results:
                results[name].append(run(name, options, plan, Path(scratch) / "out.json"))
                last = results[name][-1]
                print(
                    f"  run {repeat + 1} {name}: {last['speed']:.0f} tokens/s, {last['cpu_speed']:.0f} a CPU-second",
                    flush=True,
                )
        table(results)


def make_plan(options: argparse.Namespace, scratch: Path) -> Path:
    """Rows as ids and masks in the order of our loop's first epoch, and the base's folder, as a JSON file for every variant."""
    from rung.core.settings import Settings
    from rung.core.types import Message
    from rung.tuning.batches import Chat, encode, shuffle
    from rung.tuning.weights import find_base

    base = find_base(options.model, Settings().cache)
    chat = Chat(base)
    conversations = []
    opener = gzip.open if options.data.suffix == ".gz" else open
    with opener(options.data, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            asked = row["prompt"].partition("### Instruction:\n")[2].partition("\n\n### Response")[0] or row["prompt"]
            if row["response"].strip():
                conversations.append(
                    (str(number), [Message("user", asked), Message("assistant", row["response"].strip())])
                )
    rows = [row for row in encode(chat, conversations[: options.rows * 4])[0] if 20 <= len(row) <= 300][: options.rows]
    order = [rows[index] for index in shuffle(len(rows), 0, 0)]
    document = {
        "gguf": str(base.gguf),
        "folder": str(base.folder),
        "rows": [[row.id, row.ids, row.trained] for row in rows],
        "order": [[row.ids, [int(on) for on in row.trained]] for row in order],
        "threads": options.threads,
        "pad": chat.stop,
    }
    path = scratch / "plan.json"
    path.write_text(json.dumps(document))
    lengths = sorted(map(len, rows))
    print(
        f"{len(rows)} rows, {sum(lengths):,} tokens ({sum(row.answers for row in rows):,} trained), "
        f"lengths {lengths[0]}-{lengths[-1]}, median {lengths[len(lengths) // 2]}; batch {BATCH}, rank {RANK}, one epoch"
    )
    print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return path


def run(name: str, options: argparse.Namespace, plan: Path, out: Path) -> dict[str, Any]:
    python = sys.executable if name in OURS else options.peer
    command = [python, __file__, "--work", name, str(plan), str(out)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all alike: spinning threads only measure the neighbours
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def work(name: str, plan: str, out: str) -> None:
    document = json.loads(Path(plan).read_text())
    import torch

    if document["threads"]:
        torch.set_num_threads(document["threads"])
    result = work_ours(document, name) if name in OURS else work_trl(document, name)
    tokens = sum(len(ids) for ids, _ in document["order"])
    result["speed"], result["cpu_speed"] = tokens / result["seconds"], tokens / result["cpu"]
    Path(out).write_text(json.dumps(result))


def work_ours(document: dict[str, Any], name: str) -> dict[str, Any]:
    import torch

    from rung.tuning.batches import TokenRow, split
    from rung.tuning.compute.replicas import Replicas
    from rung.tuning.compute.session import open_session
    from rung.tuning.trainer.loop import dev_loss, train
    from rung.tuning.trainer.recipe import Recipe
    from rung.tuning.trainer.state import Watch
    from rung.tuning.weights import Base

    base = Base(Path(document["folder"]), Path(document["gguf"]), "bench")
    rows = [TokenRow(id, tuple(ids), tuple(trained)) for id, ids, trained in document["rows"]]
    common = {
        "rank": RANK,
        "alpha": ALPHA,
        "upper": 1.0,
        "rate": RATE,
        "schedule": "constant",
        "warmup": 0.0,
        "epochs": 1,
    }
    recipe = Recipe(**{**common, "batch": BATCH, "patience": 0, **OURS[name]})  # type: ignore[arg-type,dict-item]
    session = open_session(base, recipe)
    with tempfile.TemporaryDirectory() as folder:
        began, cpu = time.perf_counter(), time.process_time()
        trained = train(session, rows, [], recipe, Path(folder), Watch(every=1e9))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    final = dev_loss(Replicas([session]), split(rows, 1024))
    return {
        "seconds": seconds,
        "cpu": cpu,
        "peak": peak,
        "loss": final,
        "first": trained.losses[0],
        "steps": trained.step,
        "version": f"torch {torch.__version__}",
    }


def work_trl(document: dict[str, Any], name: str) -> dict[str, Any]:
    import torch
    import transformers
    import trl
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        document["folder"], dtype=torch.float32 if name.endswith("fp32") else torch.bfloat16
    )
    tokenizer = AutoTokenizer.from_pretrained(document["folder"])
    torch.manual_seed(0)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    if name != "trl-full":
        model.requires_grad_(False)
        model = get_peft_model(
            model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, task_type="CAUSAL_LM")
        )
    data = Dataset.from_list([{"input_ids": ids, "completion_mask": mask} for ids, mask in document["order"]])
    packed = name.startswith("trl-packed")
    with tempfile.TemporaryDirectory() as folder:
        arguments = trl.SFTConfig(
            output_dir=folder,
            use_cpu=True,
            per_device_train_batch_size=1 if packed else BATCH,
            num_train_epochs=1,
            learning_rate=3e-5 if name == "trl-full" else RATE,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            train_sampling_strategy="sequential",
            completion_only_loss=True,
            packing=packed,
            max_length=1024,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            bf16=not name.endswith("fp32"),
            **({} if name in ("trl", "trl-full") else {"gradient_checkpointing": False}),
        )
        trainer = trl.SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)
        began, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "seconds": seconds,
        "cpu": cpu,
        "peak": peak,
        "loss": mean_loss(model, document["order"]),
        "first": losses[0],
        "steps": trainer.state.global_step,
        "version": f"trl {trl.__version__}, transformers {transformers.__version__}, torch {torch.__version__}",
    }


def mean_loss(model: Any, rows: list[Any]) -> float:
    """Mean loss a trained token by the model's own forward pass, row by row."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for ids, mask in rows:
            x = torch.tensor([ids])
            logits = model(input_ids=x).logits[0, :-1].float()
            on = torch.tensor(mask[1:]).bool()
            total += float(torch.nn.functional.cross_entropy(logits[on], x[0, 1:][on], reduction="sum"))
            count += int(on.sum())
    return total / count


def table(results: dict[str, list[dict[str, Any]]]) -> None:
    middle = {
        name: {
            key: statistics.median(run[key] for run in runs)
            for key in ("speed", "cpu_speed", "peak", "loss", "first", "steps")
        }
        for name, runs in results.items()
    }
    versions = {runs[0]["version"] for runs in results.values()}
    print("; ".join(sorted(versions)))
    print(f"{'variant':12}{'tokens/s':>10}{'a CPU-s':>10}{'peak GB':>9}{'steps':>7}{'loss 1':>9}{'loss after':>12}")
    for name, row in middle.items():
        print(
            f"{name:12}{row['speed']:10.0f}{row['cpu_speed']:10.0f}{row['peak']:9.2f}{row['steps']:7.0f}"
            f"{row['first']:9.4f}{row['loss']:12.4f}"
        )
    first = next(iter(middle))
    ours = middle[first]
    for name, row in middle.items():
        if name != first:
            ratios = [mine["speed"] / other["speed"] for mine, other in zip(results[first], results[name], strict=True)]
            print(
                f"{first} / {name}: {statistics.median(ratios):.2f}x tokens/s, {ours['cpu_speed'] / row['cpu_speed']:.2f}x a CPU-second, "
                f"{ours['peak'] / row['peak']:.2f}x memory, loss {100 * (ours['loss'] / row['loss'] - 1):+.2f}%"
            )


if __name__ == "__main__":
    main()
