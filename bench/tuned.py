"""Tuning against prompting on public data: each set climbed once, best prompt rung and tuned rung paired on the same test examples.

    python bench/tuned.py DATA [SET ...] [--to FOLDER]

Sets: banking77 (77 intents), scitldr (summaries), tatoeba (English to French), gsm8k, toolcall (glaive), instructions (dolly and
self_instruct; scored on instructions written for other applications, and on IFEval), gutenberg (continued pre-training; perplexity of
a novel that was held out, and of wikitext2). DATA holds the sets' own files. What was made stays in FOLDER: the same command goes on
where it was stopped, and shows the tables again. Prints minutes and the peak memory of each process (every rung in it).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

TUNED = {"use": "lora-q8", "label": "tuned"}
LIMIT = {"train": 2000, "dev": 60, "test": 200}


def read(path: Path) -> Iterator[Any]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def banking77(data: Path, folder: Path) -> dict[str, Any]:
    return {
        "instruction": "Say which intent the customer's question to the bank has.",
        "data": {"train": str(data / "banking77/train.csv.gz"), "test": str(data / "banking77/test.csv")},
        "columns": {"input": "text", "reference": "category"},
        "answer": "labels",
        "metrics": ["accuracy", "macro-f1"],
        "max_tokens": 24,
        "limit": {"train": 10_000, "dev": 150, "test": 300},
        "rungs": ["linear", "zero-shot", "few-shot-knn", TUNED | {"steps": 500, "rate": 0.002}],
    }


def scitldr(data: Path, folder: Path) -> dict[str, Any]:
    for split in ("train", "dev", "test"):
        rows = [
            {"id": row["paper_id"], "abstract": " ".join(row["source"]), "summary": row["target"]}
            for row in read(data / f"scitldr_a/{split}.jsonl.gz")
        ]
        write(
            folder / f"{split}.jsonl",
            [row | {"summary": row["summary"][:1]} for row in rows] if split == "train" else rows,
        )
    return {
        "instruction": "Summarise the abstract of the paper in one short sentence.",
        "data": {split: f"{split}.jsonl" for split in ("train", "dev", "test")},
        "columns": {"input": "abstract", "reference": "summary", "id": "id"},
        "answer": "text",
        "metrics": ["rouge-l", "rouge-1", "rouge-2"],
        "max_tokens": 60,
        "limit": {"train": 512, "dev": 24, "test": 150},
        "rungs": ["zero-shot", {"use": "few-shot-knn", "ks": [2, 4]}, TUNED | {"epochs": 1, "steps": 32}],
    }


def tatoeba(data: Path, folder: Path) -> dict[str, Any]:
    sides = [
        (data / f"tatoeba/tatoeba.fra-eng.{side}").read_text(encoding="utf-8").splitlines() for side in ("eng", "fra")
    ]
    pairs = dict(zip(*sides, strict=True))
    write(folder / "pairs.jsonl", [{"english": english, "french": french} for english, french in pairs.items()])
    return {
        "instruction": "Translate the sentence into French.",
        "data": "pairs.jsonl",
        "columns": {"input": "english", "reference": "french"},
        "answer": "text",
        "metrics": ["chrf", "bleu"],
        "max_tokens": 48,
        "limit": LIMIT,
        "rungs": [
            "zero-shot",
            {"use": "few-shot-knn", "ks": [4, 8]},
            TUNED | {"epochs": 3, "steps": 150},
        ],
    }


def gsm8k(data: Path, folder: Path) -> dict[str, Any]:
    for split in ("train", "test"):
        # The worked solutions' calculator marks are for a calculator.
        write(
            folder / f"{split}.jsonl",
            [
                {"question": row["question"], "solution": re.sub(r"<<[^>]*>>", "", row["answer"])}
                for row in read(data / f"gsm8k/{split}.jsonl.gz")
            ],
        )
    return {
        "instruction": "Solve the problem step by step. End with #### and the number.",
        "data": {"train": "train.jsonl", "test": "test.jsonl"},
        "columns": {"input": "question", "reference": "solution"},
        "answer": "text",
        "metrics": ["number"],
        "max_tokens": 200,
        "limit": {"train": 512, "dev": 24, "test": 150},
        "rungs": ["zero-shot", {"use": "few-shot-knn", "ks": [4]}, TUNED | {"epochs": 1, "steps": 20}],
    }


def toolcall(data: Path, folder: Path) -> dict[str, Any]:
    """The first call of each conversation that has one; conversations with the same tools fall into the same split."""
    rows = []
    with gzip.open(data / "glaive_toolcall_demo/glaive_toolcall_en_demo.json.gz", "rt", encoding="utf-8") as text:
        talks = json.load(text)
    for place, talk in enumerate(talks):
        said: list[str] = []
        for turn in talk["conversations"]:
            if turn["from"] == "function_call":
                call = json.loads(turn["value"])
                rows.append(
                    {
                        "id": str(place),
                        "tools": talk["tools"],
                        "talk": "\n".join(said),
                        "call": {"name": call["name"], "arguments": call["arguments"]},
                    }
                )
                break
            said.append(f"{ {'human': 'user', 'gpt': 'assistant'}[turn['from']] }: {turn['value']}")
    write(folder / "calls.jsonl", rows)
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "arguments": {"type": "object"}},
        "required": ["name", "arguments"],
    }
    return {
        "instruction": "Write the call of a tool that the user's last message needs, as JSON with name and arguments.",
        "data": "calls.jsonl",
        "columns": {"input": ["tools", "talk"], "reference": "call", "id": "id", "group": "tools"},
        "answer": {"json": schema},
        "metrics": ["field-f1", "json-valid"],
        "max_tokens": 128,
        "split": {"train": 0.5, "dev": 0.1, "test": 0.4, "near": "off"},
        "rungs": ["zero-shot", {"use": "few-shot-knn", "ks": [2, 4]}, TUNED | {"epochs": 4, "steps": 60}],
    }


CLIMBS = {make.__name__: make for make in (banking77, scitldr, tatoeba, gsm8k, toolcall)}


def instructions(data: Path, folder: Path) -> list[tuple[str, list[str]]]:
    """Dolly and the seed tasks are learnt; what is scored are instructions written for other applications, and IFEval."""
    rows = [
        {
            "instruction": row["prompt"].split("### Instruction:")[1].split("### Response:")[0].strip(),
            "input": "",
            "output": row["response"].strip(),
        }
        for row in read(data / "dolly_hhrlhf_small/dolly_hhrlhf_train_small.jsonl.gz")
    ]
    rows += [
        {"instruction": row["instruction"], **row["instances"][0]}
        for row in read(data / "self_instruct/seed_tasks.jsonl")
    ]
    write(folder / "rows.jsonl", [row for row in rows if row["output"].strip() and len(row["output"]) < 700])
    held = [
        {
            "id": row["id"],
            "request": "\n\n".join(part for part in (row["instruction"], row["instances"][0]["input"]) if part.strip()),
            "output": row["instances"][0]["output"],
        }
        for row in read(data / "self_instruct/user_oriented_instructions.jsonl")
    ]
    write(folder / "held.jsonl", [row for row in held if row["output"].strip()])
    tune = {
        "model": "smollm2-135m",
        "data": "rows.jsonl",
        "dev": 0.06,
        "method": "lora",
        "epochs": 1,
        "rate": 0.0003,
        "export": ["f16"],
        "out": "tuned",
        "general": ["wikitext2.txt"],
    }
    task = {
        "name": "held-out-instructions",
        "instruction": "Do what the request says.",
        "data": "held.jsonl",
        "columns": {"input": "request", "reference": "output", "id": "id"},
        "answer": "text",
        "metrics": ["rouge-l", "token-f1"],
        "max_tokens": 120,
        "split": {"train": 0.02, "dev": 0.03, "test": 0.95, "near": "off"},
        "limit": {"test": 120},
        "rungs": ["zero-shot"],
    }
    unpacked(data / "wikitext2/valid.txt.gz", folder / "wikitext2.txt", 60_000)
    save(folder / "tune.yaml", tune)
    save(folder / "task.yaml", task)
    ifeval = Path(__file__).parent / "tasks" / "ifeval.yaml"
    both = ["-m", "openvino:smollm2-135m", "-m", f"openvino:{folder / 'tuned' / 'tuned-f16.gguf'}"]
    return [
        ("tune", ["tune", str(folder / "tune.yaml")]),
        ("held-out", ["climb", str(folder / "task.yaml"), *both]),
        ("ifeval", ["climb", str(ifeval), "--rung", "free", *both]),
    ]


def gutenberg(data: Path, folder: Path) -> list[tuple[str, list[str]]]:
    """Seven novels are learnt from (a part of each); the eighth is the domain's held-out text."""
    names = sorted((data / "gutenberg").glob("*.txt.gz"))
    for name in names:
        held = name.name.startswith("Great-Expectations")
        place = folder / ("held" if held else "novels") / name.name.removesuffix(".gz")
        unpacked(name, place, 60_000 if held else 40_000)
    unpacked(data / "wikitext2/valid.txt.gz", folder / "wikitext2.txt", 60_000)
    novel = next(iter((folder / "held").iterdir()))
    tune = {
        "model": "smollm2-135m",
        "texts": "novels",
        "dev": 0.1,
        "method": "lora",
        "epochs": 1,
        "rate": 0.0003,
        "export": ["f16"],
        "out": "tuned",
        "general": [f"held/{novel.name}", "wikitext2.txt"],
    }
    save(folder / "tune.yaml", tune)
    return [("tune", ["tune", str(folder / "tune.yaml")])]


def unpacked(source: Path, target: Path, characters: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(source, "rt", encoding="utf-8") as text:
        text.read(20_000)  # titles and contents
        target.write_text(text.read(characters), encoding="utf-8")


def save(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


def run(name: str, arguments: list[str], folder: Path, data: Path) -> None:
    """One ``rung`` command as a user gives it, with its wall time and the peak memory of its process."""
    environment = os.environ | {"RUNG_DATA": str(data), "NO_COLOR": "1", "COLUMNS": "150"}
    command = [sys.executable, "-m", "rung", *arguments, "--quiet"]
    if arguments[0] == "climb":
        command += ["--store", f"sqlite:///{folder / 'rung.db'}", "--report", str(folder / f"{name}.html")]
    started, load = time.monotonic(), os.getloadavg()[0]
    with (folder / f"{name}.out").open("wb") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        _, status, used = os.wait4(child.pid, 0)
    wall = (time.monotonic() - started) / 60
    print(
        f"\n## {name}: {wall:.1f} min, {used.ru_utime / 60:.1f} CPU-min, peak {used.ru_maxrss / 1e6:.2f} GB, "
        f"load {load:.1f} to {os.getloadavg()[0]:.1f}, exit {os.waitstatus_to_exitcode(status)}"
    )
    print((folder / f"{name}.out").read_text(encoding="utf-8", errors="replace"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("sets", nargs="*", default=[*CLIMBS, "instructions", "gutenberg"])
    parser.add_argument("--to", type=Path, default=Path("tuned"))
    given = parser.parse_args()
    for name in given.sets:
        folder, data = (given.to / name).resolve(), given.data.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if name in CLIMBS:
            save(folder / "task.yaml", {"name": name, **CLIMBS[name](data, folder)})
            run(name, ["climb", str(folder / "task.yaml")], folder, data)
        else:
            for part, arguments in {"instructions": instructions, "gutenberg": gutenberg}[name](data, folder):
                run(part, arguments, folder, data)


if __name__ == "__main__":
    main()
