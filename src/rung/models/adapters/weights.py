"""Weights that Hugging Face transformers reads: a folder with config.json and safetensors, or one GGUF file.

Pickled weights are refused: loading them runs code. A GGUF is computed in bfloat16, whatever its blocks are stored in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from rung.core.errors import InputError
from rung.core.system.extras import require
from rung.models.engine.files.gguf import layout

DIGITS = ("smollm", "starcoder", "refact", "command-r", "codeshell")
"""Values of ``tokenizer.ggml.pre`` that split digits off one by one before the byte-level pattern (llama.cpp's
``llama-vocab.cpp``); transformers reads such files as if they did not, and writes other tokens for a line that ends
before a digit."""


def read(
    path: Path,
    why: str,
    *,
    kind: Literal["AutoModelForCausalLM", "AutoModel"] = "AutoModelForCausalLM",
    dtype: Any = "auto",
    extra: str = "transformers",
) -> tuple[Any, Any]:
    """The model and the tokenizer of a folder or a GGUF file, on the CPU. ``dtype`` is a folder's (``auto``: as it is
    stored).

    ``why`` and ``extra`` are what MissingExtra says. Raises InputError for what transformers cannot load.
    """
    torch = require("torch", extra, why)
    transformers = require("transformers", extra, why)
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(path)}
    form: dict[str, Any] = {"dtype": dtype, "use_safetensors": True}
    if path.is_file():
        require("gguf", extra, f"reading {path.name}")
        where |= {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        form = {"dtype": torch.bfloat16}
        if hasattr(transformers, "GgufConfig"):  # newer releases compute on packed blocks, which is slower, unless told
            form["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
            if path.is_file():
                mend_digits(tokenizer, path)
            model = getattr(transformers, kind).from_pretrained(**where, **form, local_files_only=True)
            return model, tokenizer
    except Exception as error:  # every reader of weights raises its own kinds
        said = re.sub(r"\s+", " ", str(error))[:300]
        raise InputError(
            f"transformers cannot load {path}: {said}",
            remedy="name a folder with config.json, tokenizer and safetensors, or a *.gguf file",
        ) from None


def mend_digits(tokenizer: Any, path: Path) -> None:
    """Have a tokenizer that transformers read from the GGUF ``path`` split digits as the file says."""
    pre = layout(path)[0].get("tokenizer.ggml.pre")
    if pre is not None and pre.value in DIGITS:
        from tokenizers import pre_tokenizers

        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars while weights are read: they would be written through our own."""
    logging = import_module("transformers.utils.logging")
    bars = logging.is_progress_bar_enabled()
    reader = import_module("transformers.modeling_gguf_pytorch_utils")  # its bar asks nobody
    loud = getattr(reader, "tqdm", None)
    logging.disable_progress_bar()
    reader.__dict__["tqdm"] = lambda items, **_: items
    try:
        yield
    finally:
        reader.__dict__["tqdm"] = loud
        if bars:
            logging.enable_progress_bar()
