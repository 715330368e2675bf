"""The base's weights for training: a GGUF is dequantised once into a Hugging Face folder in the cache."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.errors import FitError, InputError
from rung.core.parts.program import file_hash
from rung.core.system.extras import require
from rung.models import hub
from rung.models.adapters import weights

if TYPE_CHECKING:
    import torch

MANIFEST = "rung.json"
FORMAT = 2


@dataclass(frozen=True, slots=True)
class Base:
    """A base model ready for training: ``folder`` is a Hugging Face folder, ``gguf`` the file it was read from (None:
    it was a folder already), ``key`` its identity."""

    folder: Path
    gguf: Path | None
    key: str


def find_base(name: str, cache: Path) -> Base:
    """The base behind a model's name (``openvino:smollm2-135m``, ``transformers:PATH``, or only what follows the
    colon).

    A GGUF is unpacked at the first use. Raises FetchError or InputError when there are no such weights.
    """
    if "@" in name and not Path(name).exists():
        raise InputError(
            f"{name} is a base with an adapter beside it, expected weights in one file",
            remedy="name the file that the adapter was merged into: export [f16] writes tuned-f16.gguf",
        )
    place = hub.locate(name.partition(":")[2] if name.startswith(("openvino:", "transformers:")) else name, cache)
    if place.is_file():
        return unpack(place, cache)
    weights = sorted(place.glob("*.safetensors"))
    if not (place / "config.json").is_file() or not weights:
        raise InputError(
            f"{place} cannot be trained: expected config.json and *.safetensors",
            remedy="name a GGUF file or a Hugging Face folder with safetensors",
        )
    from rung.core.codec import digest

    return Base(place, None, digest([file_hash(path) for path in weights]))


def unpack(gguf: Path, cache: Path) -> Base:
    """Dequantise ``gguf`` to bfloat16 safetensors with config, tokenizer and chat template, once a content hash.

    The folder appears by one rename and is verified by SHA-256 when it is used again; a damaged one is made anew.
    """
    key = file_hash(gguf)
    folder = cache / "bases" / f"{key[:32]}-{FORMAT}"
    if _whole(folder):
        return Base(folder, gguf, key)
    load_torch()
    require("transformers", "tuning", "fine-tuning")
    require("gguf", "tuning", "reading a GGUF for fine-tuning")
    staging = folder.with_name(f".{folder.name}.part{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with quiet():
            model, tokenizer = weights.read(gguf, "fine-tuning", extra="tuning")
            # Without this save_pretrained would write the weights back as a quantised model.
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.hf_quantizer = None
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
        files = {path.name: file_hash(path) for path in sorted(staging.iterdir())}
        document = {"format": FORMAT, "source": key, "files": files}
        (staging / MANIFEST).write_text(json.dumps(document, indent=1), encoding="utf-8")
        if folder.is_symlink():
            folder.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        try:
            staging.rename(folder)
        except OSError:
            if not _whole(folder):  # another process may have finished it first
                raise
    except Exception as error:  # readers of damaged files raise whatever they stumble over
        raise FitError(
            f"cannot read {gguf.name} for training: {error}",
            remedy="a model of the llama, qwen2 or qwen3 family as GGUF can be trained; see that the disk has 1 GB free",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Base(folder, gguf, key)


def _whole(folder: Path) -> bool:
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return document["format"] == FORMAT and all(
            file_hash(folder / name) == expected for name, expected in document["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def load_torch() -> Any:
    """torch, told before its first import to let idle threads sleep: spinning ones (the default of its OpenMP) make two
    threads on a busy 2-core machine several times slower than one."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return require("torch", "tuning", "fine-tuning")


def open_base(base: Base, dtype: torch.dtype) -> Any:
    """The model in ``dtype`` with every parameter frozen, ready for adapters; attention is the loop's ragged one."""
    load_torch()
    from rung.tuning.compute import kernels

    transformers = require("transformers", "tuning", "fine-tuning")
    with quiet():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            base.folder, dtype=dtype, attn_implementation=kernels.register()
        )
    return model.requires_grad_(False).eval()


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without progress bars and advice on stderr."""
    import warnings

    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with weights.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
