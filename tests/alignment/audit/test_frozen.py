"""Which weights are audited again: a merged file, else the adapter beside its base; a run without any is told so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from rung.alignment.audit.frozen import reaudit
from rung.core.errors import InputError


class Asked(Exception):
    """The model that was asked for."""


class Models:
    def model(self, name: str) -> Any:
        raise Asked(name)


async def test_the_weights_that_were_written_are_asked(tmp_path: Path) -> None:
    said = {"task": "support-intent", "instruction": "short", "max_tokens": 4, "reward": {}, "gold": {}}
    (tmp_path / "aligned.json").write_text(json.dumps({"config": said}))
    from rung import tasks

    example = tasks.load("support-intent").dev[0]
    (tmp_path / "answers.jsonl").write_text(json.dumps({"id": example.id, "after": "x"}) + "\n")
    with pytest.raises(InputError, match="holds no weights"):
        await reaudit(tmp_path, cast(Any, Models()))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"")
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": "mine.gguf"})
    )
    with pytest.raises(Asked, match=f"openvino:mine.gguf@{adapter}"):
        await reaudit(tmp_path, cast(Any, Models()))
    (tmp_path / "tuned-f16.gguf").write_bytes(b"")
    with pytest.raises(Asked, match=f"openvino:{tmp_path / 'tuned-f16.gguf'}"):
        await reaudit(tmp_path, cast(Any, Models()))
