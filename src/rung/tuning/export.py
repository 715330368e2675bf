"""Tuned weights out: PEFT adapter, merged Hugging Face folder, and GGUF (F16, Q8_0) that the engine reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import FitError, Unsupported
from rung.core.extras import require
from rung.tuning.loop import Recipe, Session, lora_config, write
from rung.tuning.weights import Base

if TYPE_CHECKING:
    import torch

Precision = Literal["f16", "q8"]
PERMUTED = ("llama", "mistral")
"""Model types whose q and k rows GGUF keeps interleaved for rotary embedding."""


def save_adapter(session: Session, base: Base, recipe: Recipe, folder: Path) -> Path:
    """Write the adapter as plain peft reads it: ``adapter_model.safetensors`` and ``adapter_config.json``."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    offset, tensors = 0, {}
    for name, shape in session.names:
        size = int(np.prod(shape))
        tensors[name.replace(".default", "")] = session.vector[offset : offset + size].view(shape).cpu().clone()
        offset += size
    config = lora_config(recipe)
    config.base_model_name_or_path = str(base.gguf or base.folder)
    config.inference_mode = True
    _guard(lambda: write(folder / "adapter_model.safetensors", save(tensors, {"format": "pt"})), folder)
    config.save_pretrained(folder)
    return folder


def load_adapter(session: Session, folder: Path) -> None:
    """Read an adapter that ``save_adapter`` or plain peft wrote into the session. Raises FitError when it does not belong
    to this base and recipe."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "adapter_model.safetensors"
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise FitError(
            f"cannot read the adapter {path}: {error}", remedy=f"delete {folder.parent} and tune again"
        ) from None
    offset = 0
    for name, shape in session.names:
        size, found = int(np.prod(shape)), tensors.get(name.replace(".default", ""))
        if found is None or tuple(found.shape) != shape:
            got = "nothing" if found is None else f"shape {tuple(found.shape)}"
            raise FitError(
                f"the adapter has {got} for {name}, expected shape {shape}",
                remedy="give the adapter's own base and recipe",
            )
        session.vector[offset : offset + size] = found.reshape(-1).to(session.vector)
        offset += size


def merge(session: Session) -> dict[str, torch.Tensor]:
    """The base's weights with the adapter added, in float32, by the base's own names: W + scaling B A.

    The session is left as it is. Raises FitError when a merged weight is not finite.
    """
    import torch

    model = session.model
    out: dict[str, torch.Tensor] = {}
    causal = model.get_base_model()
    tied = bool(causal.config.tie_word_embeddings)
    for name, tensor in causal.state_dict().items():
        if ".lora_" in name or (tied and name == "lm_head.weight"):
            continue
        out[name.replace(".base_layer", "")] = tensor
    with torch.no_grad():
        for name, module in causal.named_modules():
            if hasattr(module, "lora_A") and "default" in module.lora_A:
                if module.lora_variant:
                    clone = out[f"{name}.weight"].float().clone()
                    merged = module.lora_variant["default"].merge_safe(module, "default", clone)
                else:
                    merged = out[f"{name}.weight"].float() + module.get_delta_weight("default").float()
                if not torch.isfinite(merged).all():
                    raise FitError(
                        f"the merged weight of {name} is not finite", remedy="train again at a lower learning rate"
                    )
                out[f"{name}.weight"] = merged
    return {name: tensor.float().cpu() for name, tensor in out.items()}


def save_folder(weights: dict[str, torch.Tensor], base: Base, folder: Path, *, dtype: str = "float32") -> Path:
    """Write merged weights as a Hugging Face folder (config, tokenizer and template are the base's)."""
    torch = require("torch", "tuning", "writing weights")
    from safetensors.torch import save
    from transformers import AutoConfig

    staging = folder.with_name(f".{folder.name}.part{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        kind = getattr(torch, dtype)
        for path in base.folder.iterdir():
            if path.suffix in (".json", ".jinja", ".txt", ".model") and path.name != "rung.json":
                shutil.copyfile(path, staging / path.name)
        config = AutoConfig.from_pretrained(base.folder)
        config.dtype = kind
        config.save_pretrained(staging)
        data = {name: tensor.to(kind).contiguous() for name, tensor in weights.items()}
        _guard(lambda: write(staging / "model.safetensors", save(data, {"format": "pt"})), folder)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def save_gguf(
    weights: dict[str, torch.Tensor], base: Base, path: Path, precision: Precision, *, name: str = ""
) -> Path:
    """Write merged weights as GGUF: tensor names by the gguf package's map, metadata (tokenizer, chat template) from the base's
    own file. Matrices become F16 or Q8_0 (32 values a block; a matrix that does not divide stays F16), vectors stay F32.

    The file appears whole or not at all. Raises Unsupported when the base was not a GGUF, FitError when tensors do not match
    it or the disk refuses.
    """
    gguf = require("gguf", "tuning", "writing a GGUF")
    from transformers import AutoConfig

    if base.gguf is None:
        raise Unsupported(
            "the base was read from a Hugging Face folder, so there is no GGUF whose tokenizer could be copied",
            remedy="tune a base that is a GGUF file, for example openvino:smollm2-135m",
        )
    reader = gguf.GGUFReader(base.gguf)
    architecture = str(reader.fields["general.architecture"].contents())
    config = AutoConfig.from_pretrained(base.folder)
    names = _names(gguf, architecture, config.num_hidden_layers, weights)
    part = path.with_name(f".{path.name}.part{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        writer = gguf.GGUFWriter(part, architecture)
        _copy_fields(gguf, reader, writer, precision, name)
        missing = sorted({tensor.name for tensor in reader.tensors} - set(names) - {"rope_freqs.weight"})
        if missing:
            raise FitError(
                f"the tuned model has no tensor for {', '.join(missing[:3])}",
                remedy="this architecture cannot be exported to GGUF",
            )
        for source in reader.tensors:
            if source.name not in names:
                writer.add_tensor(source.name, source.data, raw_dtype=source.tensor_type)
                continue
            data = weights[names[source.name]].numpy()
            if list(data.shape) != [int(size) for size in source.shape[::-1]]:
                raise FitError(
                    f"{source.name} has shape {data.shape}, the base's file says {tuple(source.shape[::-1])}",
                    remedy="the adapter does not belong to this base: tune again",
                )
            if config.model_type in PERMUTED and names[source.name].endswith(("q_proj.weight", "k_proj.weight")):
                heads = config.num_attention_heads if ".q_proj" in names[source.name] else config.num_key_value_heads
                data = permute(data, heads)
            kind = gguf.GGMLQuantizationType.F32
            if data.ndim > 1:
                kind = gguf.GGMLQuantizationType.F16
                if precision == "q8" and data.shape[-1] % 32 == 0:
                    kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(source.name, gguf.quants.quantize(data, kind), raw_dtype=kind)

        def finish() -> None:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            with part.open("rb+") as stream:
                os.fsync(stream.fileno())
            part.replace(path)

        _guard(finish, path.parent)
    finally:
        part.unlink(missing_ok=True)
    return path


def permute(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a q or k projection from Hugging Face's half-split rotary order to GGUF's interleaved one (llama.cpp's
    ``convert_hf_to_gguf``)."""
    rows, *rest = weight.shape
    return np.ascontiguousarray(
        weight.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2).reshape(weight.shape)
    )


def _names(gguf: Any, architecture: str, layers: int, weights: dict[str, torch.Tensor]) -> dict[str, str]:
    """GGUF tensor name -> Hugging Face name, for every weight."""
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    if architecture not in kinds:
        raise Unsupported(
            f"GGUF architecture {architecture!r} is not known", remedy="tune a llama, qwen2 or qwen3 model"
        )
    table = gguf.get_tensor_name_map(kinds[architecture], layers)
    out = {}
    for name in weights:
        stem, _, suffix = name.rpartition(".")
        target = table.get_name(stem)
        if target is None:
            raise FitError(f"no GGUF name for the tensor {name}", remedy="this architecture cannot be exported to GGUF")
        out[f"{target}.{suffix}"] = name
    return out


def _copy_fields(gguf: Any, reader: Any, writer: Any, precision: Precision, name: str) -> None:
    own = {"general.architecture", "general.file_type", "general.quantization_version", "general.name"}
    for key, item in reader.fields.items():
        if key.startswith("GGUF.") or key in own:
            continue
        kind = item.types[0]
        inner = item.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, item.contents(), kind, inner)
    source = reader.fields.get("general.name")
    writer.add_name(name or (str(source.contents()) if source is not None else "tuned"))
    kinds = gguf.LlamaFileType
    writer.add_file_type(kinds.MOSTLY_F16 if precision == "f16" else kinds.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _guard(action: Any, folder: Path) -> None:
    try:
        action()
    except OSError as error:
        raise FitError(
            f"cannot write the tuned weights to {folder}: {error.strerror or error}",
            remedy="free some disk space and run the same again; the training itself is kept",
        ) from error
