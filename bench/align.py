"""GRPO and DPO against TRL's on the same model, prompts, pairs and steps: tokens/s, peak memory, reward or loss; and replies sampled by the
embedded engine, with an adapter, against generate of transformers.

    python bench/align.py --peer PYTHON_WITH_TRL [--rows FILE.jsonl] [--pairs FILE] [--steps 4]
        [--prompts 2] [--variants ours-rollouts,hf-rollouts,ours-grpo,trl-grpo,ours-dpo,trl-dpo]

Rows have "text"; pairs are any that rung data reads. Both sides train LoRA of rank 8 on the upper third of the layers in float32. GRPO: each
step answers --prompts prompts 8 times with at most 24 tokens at temperature 0.8; the reward is the mean of three rules (at most 12 words, one sentence, one
line). Tokens/s counts sampled tokens for GRPO and rollouts (one step to warm up, not counted) and the answers' tokens for DPO over the
steps, loading and held-out scoring excluded. The engine computes in what the processor is best at (RUNG_PRECISION=f32: in float32); hf-bf16 is
generate in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RANK, ALPHA, RATE, REPLIES, TOKENS = 8, 16, 1e-3, 8, 24
DPO_RATE, DPO_BATCH = 2e-4, 4
RULES: dict[str, dict[str, Any]] = {
    "short": {"words": 12},
    "one": {"must": r"\A[^.!?]*[.!?]\s*\Z"},
    "line": {"never": r"\n"},
}


def reward(text: str) -> float:
    kept = [len(text.split()) <= 12, re.search(RULES["one"]["must"], text) is not None, "\n" not in text]
    return sum(kept) / 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", default=sys.executable, help="a Python that has trl")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=Path, help="JSON Lines with text and answer, for GRPO")
    parser.add_argument("--pairs", type=Path, help="pairs, for DPO")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=2, help="prompts a step, for GRPO and rollouts")
    parser.add_argument("--variants", default="ours-rollouts,hf-rollouts,ours-grpo,trl-grpo,ours-dpo,trl-dpo")
    parser.add_argument("--work", nargs=3, metavar=("VARIANT", "PLAN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, plan, out = options.work
        made = WORK[name](json.loads(Path(plan).read_text()))
        made["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        Path(out).write_text(json.dumps(made))
        return
    with tempfile.TemporaryDirectory() as scratch:
        plan = make_plan(options, Path(scratch))
        print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        print(f"{'variant':14}{'tokens':>8}{'tokens/s':>10}{'a CPU-s':>9}{'peak GB':>9}  first -> last")
        for name in options.variants.split(","):
            python = sys.executable if name.startswith("ours") else options.peer
            out = Path(scratch) / "out.json"
            environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
            environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            subprocess.run([python, __file__, "--work", name, str(plan), str(out)], check=True, env=environment,
                           stdout=subprocess.DEVNULL)  # fmt: skip
            row = json.loads(out.read_text())
            speed, cpu = row["tokens"] / row["seconds"], row["tokens"] / row["cpu"]
            print(f"{name:14}{row['tokens']:8.0f}{speed:10.1f}{cpu:9.1f}{row['peak']:9.2f}  {row['curve']}", flush=True)


def make_plan(options: argparse.Namespace, scratch: Path) -> Path:
    """Everything that both sides need, as one JSON file; the task that ours reads beside it."""
    from rung.alignment.rewards.pairs import read_pairs
    from rung.core.settings import Settings
    from rung.tuning.batches import Chat
    from rung.tuning.weights import find_base

    base = find_base(options.model, Settings().cache)
    chat = Chat(base)
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()] if options.rows else []
    rows = [row for row in rows if len(row["text"]) < 300]
    pairs = []
    for pair in read_pairs([options.pairs]) if options.pairs else ():
        sides = [[*chat.template.plain(text), chat.stop] for text in (pair.chosen, pair.rejected)]
        prompt = list(chat.prompt(pair.messages))
        if len(prompt) <= 200 and max(map(len, sides)) <= 200:
            pairs.append([pair.id, prompt, *sides])
    (scratch / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, rule in RULES.items():
        (scratch / f"{name}.yaml").write_text(json.dumps({"rules": [{"name": name, **rule}]}))
    task = {"name": "bench", "instruction": "Answer in one short sentence of at most twelve words.", "data": "rows.jsonl",
            "columns": {"input": ["text"], "reference": "answer"}, "answer": "text", "metrics": ["policy:short.yaml"],
            "max_tokens": TOKENS}  # fmt: skip
    (scratch / "task.yaml").write_text(json.dumps(task))
    layers = json.loads((base.folder / "config.json").read_text())["num_hidden_layers"]
    prompts = [
        [{"role": "system", "content": task["instruction"]}, {"role": "user", "content": row["text"]}] for row in rows
    ]
    document = {"folder": str(base.folder), "gguf": str(base.gguf), "model": options.model, "scratch": str(scratch), "prompts": prompts,
                "pairs": pairs[: DPO_BATCH * options.steps], "steps": options.steps, "each": options.prompts,
                "layers": list(range(layers - max(1, round(layers * 0.34)), layers))}  # fmt: skip
    path = scratch / "plan.json"
    path.write_text(json.dumps(document))
    return path


def ours_grpo(plan: dict[str, Any]) -> dict[str, Any]:
    from rung.alignment.runs.align import align
    from rung.alignment.runs.config import understand
    from rung.core.settings import Settings
    from rung.models import Pool

    scratch = Path(plan["scratch"])
    given = {"method": "grpo", "task": "task.yaml", "model": plan["model"], "reward": [f"policy:{name}.yaml" for name in RULES],
             "steps": plan["steps"], "prompts": plan["each"], "replies": REPLIES, "max_tokens": TOKENS, "rate": RATE, "rank": RANK,
             "held": 1, "looks": 0, "passes": 1, "watch": False, "exports": ["adapter"], "out": "out"}  # fmt: skip
    done = align(understand(given, scratch), Pool(Settings()), Settings())
    used, updates = done.course.usage, done.course.updates
    return {"tokens": used.completion_tokens, "seconds": used.seconds, "cpu": used.cpu_seconds,
            "curve": curve("reward", [update.reward for update in updates])}  # fmt: skip


def ours_dpo(plan: dict[str, Any]) -> dict[str, Any]:
    from rung.alignment.methods.dpo import Dpo
    from rung.alignment.policies.language import LanguagePolicy
    from rung.alignment.policies.policy import Trajectory
    from rung.alignment.runs.course import Course
    from rung.alignment.runs.loop import Pacing
    from rung.alignment.runs.pairwise import PairLearner, TokenPair
    from rung.tuning.compute.replicas import Replicas
    from rung.tuning.compute.session import open_session
    from rung.tuning.trainer.checkpoints import Checkpoints
    from rung.tuning.trainer.recipe import Recipe
    from rung.tuning.weights import Base

    base = Base(Path(plan["folder"]), Path(plan["gguf"]), "bench")
    recipe = Recipe(rank=RANK, alpha=ALPHA, upper=0.34, precision="fp32")
    pairs = [
        TokenPair(id, *(Trajectory(0, tuple(prompt), tuple(side), (0.0,) * len(side)) for side in sides))
        for id, prompt, *sides in plan["pairs"]
    ]
    with Replicas.of(open_session(base, recipe), recipe) as replicas, tempfile.TemporaryDirectory() as folder:
        learner = PairLearner(LanguagePolicy(replicas, recipe), pairs, Dpo(pairs=DPO_BATCH), Pacing(rate=DPO_RATE))
        course = learner.run(Checkpoints(Path(folder), "bench", Course))
    used, updates = course.usage, course.updates
    return {"tokens": used.completion_tokens, "seconds": used.seconds, "cpu": used.cpu_seconds,
            "curve": curve("loss", [update.parts["loss"] for update in updates])}  # fmt: skip


def batches(plan: dict[str, Any]) -> list[list[Any]]:
    """The prompts of one step more than are counted, each as often as it is answered."""
    each = plan["each"]
    wanted = [plan["prompts"][at % len(plan["prompts"])] for at in range(each * (plan["steps"] + 1))]
    return [[one for one in wanted[at : at + each] for _ in range(REPLIES)] for at in range(0, len(wanted), each)]


def sampled(plan: dict[str, Any], ask: Any) -> dict[str, Any]:
    """Time ``ask``, which answers the prompts of a step and counts the tokens of the answers."""
    first, *rest = batches(plan)
    ask(first)
    began, cpu = time.perf_counter(), time.process_time()
    tokens = sum(ask(batch) for batch in rest)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"tokens": tokens, "seconds": seconds, "cpu": cpu, "curve": f"{len(rest)} steps"}


def ours_rollouts(plan: dict[str, Any]) -> dict[str, Any]:
    import asyncio

    from rung.alignment.policies.language import LanguagePolicy
    from rung.alignment.runs.player import Sampler
    from rung.core.settings import Settings
    from rung.core.types import Message, Request, Sampling
    from rung.tuning.compute.replicas import Replicas
    from rung.tuning.compute.session import open_session
    from rung.tuning.trainer.recipe import Recipe
    from rung.tuning.weights import Base

    base = Base(Path(plan["folder"]), Path(plan["gguf"]), "bench")
    recipe = Recipe(rank=RANK, alpha=ALPHA, upper=0.34, precision="fp32")
    with Replicas.of(open_session(base, recipe), recipe) as replicas, asyncio.Runner() as runner:
        sampler = Sampler(base, LanguagePolicy(replicas, recipe, 0.8), Settings())

        def ask(batch: list[Any]) -> int:
            requests = [
                Request(tuple(Message(**turn) for turn in prompt), Sampling(0.8, max_tokens=TOKENS, seed=at, logprobs=True))
                for at, prompt in enumerate(batch)
            ]  # fmt: skip
            return sum(len(reply.ids) for reply in runner.run(sampler.ask(requests)))

        made = sampled(plan, ask)
        runner.run(sampler.close())
    return made


def hf_rollouts(plan: dict[str, Any], kind: str = "float32") -> dict[str, Any]:
    import torch
    from peft import get_peft_model

    model, tokenizer, lora = trl_model(plan)
    model = get_peft_model(model, lora).eval().to(getattr(torch, kind))
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def ask(batch: list[Any]) -> int:
        texts = [tokenizer.apply_chat_template(one, tokenize=False, add_generation_prompt=True) for one in batch]
        given = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            out = model.generate(**given, do_sample=True, temperature=0.8, top_k=0, top_p=1.0, max_new_tokens=TOKENS,
                                 pad_token_id=tokenizer.pad_token_id)  # fmt: skip
        ended = out[:, given["input_ids"].shape[1] :] == tokenizer.eos_token_id
        lengths = [row.index(True) + 1 if True in row else len(row) for row in ended.tolist()]
        return sum(lengths)

    return sampled(plan, ask)


def trl_model(plan: dict[str, Any]) -> tuple[Any, Any, Any]:
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(plan["folder"], dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(plan["folder"])
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=targets, layers_to_transform=plan["layers"], task_type="CAUSAL_LM"
    )
    return model, tokenizer, lora


COMMON = {"use_cpu": True, "bf16": False, "max_grad_norm": 1.0, "report_to": "none", "save_strategy": "no", "logging_steps": 1,
          "disable_tqdm": True, "dataloader_pin_memory": False, "lr_scheduler_type": "constant", "gradient_checkpointing": False,
          "output_dir": "trl-out"}  # fmt: skip


def trl_grpo(plan: dict[str, Any]) -> dict[str, Any]:
    import trl
    from datasets import Dataset

    model, tokenizer, lora = trl_model(plan)

    def score(completions: list[Any], **_: Any) -> list[float]:
        return [reward(one[0]["content"] if isinstance(one, list) else one) for one in completions]

    arguments = trl.GRPOConfig(**COMMON, per_device_train_batch_size=plan["each"] * REPLIES, num_generations=REPLIES, max_steps=plan["steps"],
                               max_completion_length=TOKENS, temperature=0.8, beta=0.02, learning_rate=RATE, scale_rewards="none")  # fmt: skip
    trainer = trl.GRPOTrainer(model=model, reward_funcs=score, args=arguments, processing_class=tokenizer, peft_config=lora,
                              train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in plan["prompts"]]))  # fmt: skip
    return trained(
        trainer, lambda logs: sum(log["completions/mean_length"] for log in logs) * plan["each"] * REPLIES, "reward"
    )


def trl_dpo(plan: dict[str, Any]) -> dict[str, Any]:
    import trl
    from datasets import Dataset

    model, tokenizer, lora = trl_model(plan)
    rows = [{"prompt": tokenizer.decode(prompt), "chosen": tokenizer.decode(good[:-1]), "rejected": tokenizer.decode(bad[:-1])}
            for _, prompt, good, bad in plan["pairs"]]  # fmt: skip
    arguments = trl.DPOConfig(
        **COMMON, per_device_train_batch_size=DPO_BATCH, num_train_epochs=1, learning_rate=DPO_RATE, beta=0.1
    )
    trainer = trl.DPOTrainer(model=model, args=arguments, processing_class=tokenizer, peft_config=lora,
                             train_dataset=Dataset.from_list(rows))  # fmt: skip
    tokens = sum(len(good) + len(bad) for _, _, good, bad in plan["pairs"])
    return trained(trainer, lambda logs: tokens, "loss")


def curve(name: str, values: list[float]) -> str:
    """The first and the last value, and means of both halves: one step's reward is mostly chance."""
    half = (len(values) + 1) // 2
    first, second = values[:half], values[-half:]
    return f"{name} {values[0]:.3f} -> {values[-1]:.3f}; halves {sum(first) / half:.3f}, {sum(second) / half:.3f}"


def trained(trainer: Any, tokens: Any, name: str) -> dict[str, Any]:
    began, cpu = time.perf_counter(), time.process_time()
    trainer.train()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    logs = [log for log in trainer.state.log_history if name in log]
    return {"tokens": tokens(logs), "seconds": seconds, "cpu": cpu, "curve": curve(name, [log[name] for log in logs])}


WORK = {
    "ours-rollouts": ours_rollouts,
    "hf-rollouts": hf_rollouts,
    "hf-bf16": lambda plan: hf_rollouts(plan, "bfloat16"),
    "ours-grpo": ours_grpo,
    "ours-dpo": ours_dpo,
    "trl-grpo": trl_grpo,
    "trl-dpo": trl_dpo,
}

if __name__ == "__main__":
    main()
