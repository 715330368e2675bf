from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rung.core.errors import InputError
from rung.tuning.file.config import read, understand

SHEET = {
    "model": "smollm2-135m",
    "data": "rows.jsonl",
    "dev": 0.1,
    "lora": {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.05, "bias": "none"},
    "training": {
        "output_dir": "./results",
        "num_train_epochs": 3,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 8,
        "learning_rate": "2e-5",
        "warmup_steps": 500,
        "weight_decay": 0.01,
        "logging_dir": "./logs",
        "logging_steps": 10,
        "evaluation_strategy": "steps",
        "eval_steps": 500,
        "save_strategy": "steps",
        "save_steps": 500,
        "fp16": True,
    },
}
"""The cheat sheet's LoraConfig and TrainingArguments, as they are."""


def test_the_sheets_own_settings_load(tmp_path: Path) -> None:
    path = tmp_path / "tune.yaml"
    path.write_text(yaml.safe_dump(SHEET))
    config = read(path)
    recipe = config.recipe
    assert (recipe.rank, recipe.alpha, recipe.targets, recipe.dropout) == (16, 32.0, ("q_proj", "v_proj"), 0.05)
    assert (recipe.epochs, recipe.batch, recipe.rate, recipe.warmup, recipe.decay) == (3, 32, 2e-5, 500.0, 0.01)
    assert (recipe.interval, config.saves, config.points) == (500, 500, 10)
    assert recipe.precision == "auto"
    assert config.out == tmp_path / "results"
    assert config.tensorboard == tmp_path / "logs"
    said = "\n".join(config.notes)
    assert "a step is 32 rows" in said
    assert "fp16" in said
    assert "2e-05 is outside" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rang": 8}, "unknown setting 'rang'"),
        ({"rank": 4, "r": 8}, "the same setting"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"rank": "many"}, "rank is 'many', expected int"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"dev": 2}, "dev is 2"),
        ({"export": ["onnx"]}, "unknown export 'onnx'"),
        ({"batch": 4, "per_device_train_batch_size": 4}, "both given"),
        ({"export": 5}, "export is 5"),
        ({"general": {"a": 1}}, "general is"),
        ({"dev": ["a"]}, "dev is"),
        ({"texts": "more.txt"}, "got several of data, texts and task"),
        ({"eval_strategy": "sometimes"}, "eval_strategy is 'sometimes'"),
        ({"checkpointing": "maybe"}, "checkpointing is 'maybe'"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        understand({"data": "rows.jsonl", **given}, tmp_path)
    assert message in str(raised.value)
    assert raised.value.remedy


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(InputError, match=r"bad.yaml:\d: not valid YAML"):
        read(tmp_path / "bad.yaml")
    (tmp_path / "twice.yaml").write_text("data: a\nrank: 4\nlora: {rank: 8}\n")
    with pytest.raises(InputError, match="given twice"):
        read(tmp_path / "twice.yaml")
    (tmp_path / "ok.yaml").write_text("data: a.jsonl\nload_in_4bit: true\n")
    config = read(tmp_path / "ok.yaml", {"epochs": 2})
    assert (config.recipe.method, config.recipe.bits, config.recipe.epochs) == ("qlora", 4, 2)
    assert config.exports == ("adapter", "f16")
