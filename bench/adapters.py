"""What an adapter beside its base costs in the embedded engine, against the base alone and against merged weights.

    python bench/adapters.py ADAPTER ADAPTER [--rows 16] [--tokens 24] [--rounds 3]

The ADAPTERs are LoRA folders of one base, tuned by ``rung tune``; two more are made of them (linear merges: the same rank). Every
variant reads the same replies of ``--tokens`` tokens after prompts that share only their first words, one token after another as
decoding does, so all compute the same number of tokens. Variants alternate; medians of all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rung.core.settings import Settings
from rung.core.system.machine import machine
from rung.core.types import Message
from rung.models import hub
from rung.models.adapters import compose, lora
from rung.models.engine import paged
from rung.models.engine.openvino.engine import Engine, choose_precision
from rung.models.engine.openvino.model import OpenvinoModel
from rung.tuning.compute import export
from rung.tuning.compute.session import open_session
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.weights import find_base

Talk = tuple[tuple[Message, ...], str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("adapters", nargs=2, type=Path)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings = Settings()
    first = compose.read(options.adapters[0])
    path = hub.locate(first.base, settings.cache)
    with tempfile.TemporaryDirectory() as scratch:
        folders = list(options.adapters)
        for number, weights in enumerate(((1.0, 0.5), (0.5, 1.0))):
            folders.append(compose.merge(options.adapters, weights, "linear", Path(scratch) / str(number)).folder)
        merged = merge(first, Path(scratch) / "merged.gguf")
        asyncio.run(measure(path, merged, [lora.read(folder) for folder in folders], options))


def merge(adapter: compose.Adapter, place: Path) -> Path:
    """The first adapter in its base's weights, at 8 bits as the base is computed."""
    base = find_base(adapter.base, Settings().cache)
    config = adapter.config
    recipe = Recipe(rank=config["r"], alpha=config["lora_alpha"], targets=tuple(config["target_modules"]))
    session = open_session(base, recipe)
    export.load_adapter(session, adapter.folder)
    return export.save_gguf(export.merge(session), base, place, "q8")


async def measure(path: Path, merged: Path, loras: Sequence[lora.Lora], options: argparse.Namespace) -> None:
    cache, precision = Settings().cache, choose_precision(str(Settings()["precision"]), machine())
    plain, one, four, whole = (
        Engine(path, cache, 0, precision),
        Engine(path, cache, 0, precision, lora.AdapterSlots()),
        Engine(path, cache, 0, precision, lora.AdapterSlots()),
        Engine(merged, cache, 0, precision),
    )
    beside = [OpenvinoModel(f"four{number}", four, item) for number, item in enumerate(loras)]
    variants: dict[str, list[OpenvinoModel]] = {
        "base": [OpenvinoModel("base", plain)],
        "first adapter merged (q8)": [OpenvinoModel("merged", whole)],
        "1 adapter beside the base, all use it": [OpenvinoModel("one", one, loras[0])],
        "4 adapters beside the base, all use one": beside[:1],
        "4 adapters beside the base, a quarter each, one batch": beside,
    }
    word = " river stone cloud lamp"
    talks: list[Talk] = [
        (
            (Message("user", f"Row {row}: {'the sea is blue and ' * 4}{row * 7919 % 1000}?"),),
            word * (options.tokens // 4),
        )
        for row in range(options.rows)
    ]
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    read = prompt = 0
    for turn in range(options.rounds + 1):  # the first one warms up
        for name, models in variants.items():
            models[0].forget()
            shares = [talks[place :: len(models)] for place in range(len(models))]
            began = time.perf_counter()
            found = await asyncio.gather(*(model.recall(share) for model, share in zip(models, shares, strict=True)))
            if turn:
                seconds[name].append(time.perf_counter() - began)
            read = sum(len(one) for part in found for one in part)
            prompt = sum(models[0].count(messages) for messages, _ in talks)
    print(
        f"{options.rows} rows, {prompt} prompt and {read} reply tokens; ranks {', '.join(str(item.rank) for item in loras)}; "
        f"openvino {paged.version().partition('-')[0]}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print("| variant | reply tokens/s | answers/s | to the base |\n|---|---|---|---|")
    base = statistics.median(seconds["base"])
    for name, spent in seconds.items():
        middle = statistics.median(spent)
        print(f"| {name} | {read / middle:.0f} | {options.rows / middle:.1f} | {base / middle:.2f} |")


if __name__ == "__main__":
    main()
