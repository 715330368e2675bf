"""A folder with a model's OpenVINO graph and tokenizer, as ``rung tune`` writes it (``export: openvino``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.models.engine.files.gguf import Header

GRAPH = "openvino_model.xml"
PARTS = (GRAPH, "openvino_model.bin", "openvino_tokenizer.xml", "openvino_detokenizer.xml")


def files(folder: Path) -> list[Path]:
    """What decides what the model says. Raises InputError when a part is missing."""
    if missing := [name for name in (*PARTS, "config.json", "tokenizer.json") if not (folder / name).is_file()]:
        raise InputError(
            f"{folder} is no OpenVINO model: {', '.join(missing)} missing",
            remedy="name a folder that rung tune wrote with export: openvino, or a *.gguf file; for a Hugging Face folder "
            "write transformers:FOLDER",
        )
    return sorted(path for path in folder.iterdir() if path.suffix in (".xml", ".bin", ".json", ".jinja"))


def read(folder: Path) -> Header:
    """What the engine needs to know, from config, tokenizer and chat template. Raises InputError for a folder that is
    not whole."""
    files(folder)
    try:
        config, tokenizer = (_json(folder / name) for name in ("config.json", "tokenizer.json"))
        control = {str(token["content"]): int(token["id"]) for token in tokenizer["added_tokens"] if token["special"]}
        template = folder / "chat_template.jinja"
        return Header(
            architecture=str(config["model_type"]),
            context=int(config["max_position_embeddings"]),
            template=template.read_text(encoding="utf-8") if template.is_file() else "",
            vocabulary=int(config["vocab_size"]),
            control=control,
            eos=int(ends[0] if isinstance(ends := config["eos_token_id"], list) else ends),
            bos=None if config.get("bos_token_id") is None else int(config["bos_token_id"]),
            add_bos=False,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is no readable OpenVINO model: {type(error).__name__} {error}", remedy="export it again"
        ) from None


def _json(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError(f"{path.name} is no mapping")
    return document
