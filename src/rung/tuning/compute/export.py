"""Tuned weights out: adapter folder, merged Hugging Face folder, GGUF (F16, Q8_0, Q4_0), and an OpenVINO folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rung.core.errors import FitError, Unsupported
from rung.core.system.extras import require
from rung.core.system.files import atomic_write, write_file
from rung.models.adapters import adapters
from rung.models.engine.files.gguf import Field, StoredTensor, copy_fields, finish, layout, stored
from rung.tuning.batches import TokenRow
from rung.tuning.compute.rounding import BLOCK, Rounder, measure, plain, some, weighted
from rung.tuning.compute.session import TASK, Session, lora_config
from rung.tuning.trainer.recipe import Recipe
from rung.tuning.weights import Base, quiet

if TYPE_CHECKING:
    import torch

Precision = Literal["f16", "q8", "q4"]
PERMUTED = ("llama", "mistral")
"""Model types whose q and k rows GGUF keeps interleaved for rotary embedding."""

MERGED = ("lora", "qlora", "full")
"""Methods whose result is one set of weights of the base's own shape."""


def save_adapter(session: Session, recipe: Recipe, folder: Path) -> Path:
    """Write what was trained beside the base: ``adapter_model.safetensors`` and ``adapter_config.json``, which plain
    peft reads (LoRA, prompt, prefix) or ``models.adapters`` does (bottleneck).

    Raises Unsupported for a full fine-tuning, which has no adapter.
    """
    from safetensors.torch import save

    tensors = {name: part.cpu().clone() for name, part in session.named().items()}
    config: Any = None
    heads = session.causal.config
    place = adapters.name_of(session.base.gguf or session.base.folder, session.base.key)
    if recipe.method in ("lora", "qlora"):
        tensors = {name.replace(".default", ""): part for name, part in tensors.items()}
        config = lora_config(recipe, session.causal)
    elif recipe.method in ("prompt", "prefix"):
        peft = require("peft", "tuning", "an adapter")
        width = heads.hidden_size
        if recipe.method == "prefix":
            stacked = np.stack([part.numpy() for part in tensors.values()])  # (layers, 2, virtual, heads, size)
            width = stacked.shape[3] * stacked.shape[4]
            import torch

            flat = torch.from_numpy(np.ascontiguousarray(stacked.transpose(2, 0, 1, 3, 4))).reshape(recipe.virtual, -1)
            tensors = {"prompt_embeddings": flat}
        kind = peft.PromptTuningConfig if recipe.method == "prompt" else peft.PrefixTuningConfig
        config = kind(
            task_type="CAUSAL_LM",
            num_virtual_tokens=recipe.virtual,
            token_dim=width,
            num_layers=heads.num_hidden_layers,
            num_attention_heads=heads.num_attention_heads if recipe.method == "prompt" else heads.num_key_value_heads,
            num_transformer_submodules=1,
        )
    elif recipe.method == "full":
        raise Unsupported(
            "a full fine-tuning has no adapter: every weight changed", remedy="write it as a folder or a GGUF"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with disk_errors(folder):
        write_file(folder / adapters.WEIGHTS, save(tensors, {"format": "pt"}))
    if config is None:
        width = max(1, int(heads.hidden_size) // recipe.reduction)
        document = adapters.Modules({TASK: width}).document(place)
        with disk_errors(folder):
            write_file(folder / adapters.CONFIG, json.dumps(document, indent=1).encode())
    else:
        config.base_model_name_or_path = place
        config.inference_mode = True
        config.save_pretrained(folder)
    adapters.note(folder, place, session.base.key)
    return folder


def load_adapter(session: Session, folder: Path) -> None:
    """Read an adapter that ``save_adapter`` (or, for LoRA, plain peft) wrote into the session. Raises FitError when it
    does not belong to this base and recipe."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / adapters.WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise FitError(
            f"cannot read the adapter {path}: {error}", remedy=f"delete {folder.parent} and tune again"
        ) from None
    if session.method == "prefix" and "prompt_embeddings" in tensors:
        flat, shape = tensors["prompt_embeddings"], session.names[0][1]
        if flat.numel() == session.vector.numel():
            parts = flat.reshape(shape[1], len(session.names), 2, *shape[2:]).permute(1, 2, 0, 3, 4)
            tensors = {name: part for (name, _), part in zip(session.names, parts, strict=True)}
    for name, part in session.named().items():
        found = tensors.get(name.replace(".default", "") if session.method in ("lora", "qlora") else name)
        if found is None or found.shape != part.shape:
            got = "nothing" if found is None else f"shape {tuple(found.shape)}"
            raise FitError(
                f"the adapter has {got} for {name}, expected shape {tuple(part.shape)}",
                remedy="give the adapter's own base and recipe",
            )
        part.copy_(found)
    session.push()


def load_folder(session: Session, folder: Path) -> None:
    """Read a full fine-tuning's folder into the session. Raises FitError when it does not belong to this base."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / "model.safetensors")
        for name, part in session.named().items():
            if tensors[name].shape != part.shape:
                raise ValueError(f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(part.shape)}")
            part.copy_(tensors[name])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise FitError(f"cannot read {folder}: {error}", remedy=f"delete {folder.parent} and tune again") from None
    session.push()


def merge(session: Session) -> dict[str, torch.Tensor]:
    """The base's weights with what was trained in them, in float32, by the base's own names: for LoRA W + scaling B A,
    over a packed base with W as it was opened in training.

    The session is left as it is. Raises Unsupported for a method that adds parts which the base has no place for,
    FitError when a weight is not finite.
    """
    import torch

    if session.method not in MERGED:
        raise Unsupported(
            f"what {session.method} tuning adds cannot be merged into the base's weights",
            remedy="serve the adapter folder (transformers:FOLDER), or tune with lora, qlora or full",
        )
    causal = session.causal
    out: dict[str, torch.Tensor] = {}
    tied = bool(causal.config.tie_word_embeddings)
    for name, tensor in causal.state_dict().items():
        if ".lora_" in name or (tied and name == "lm_head.weight"):
            continue
        out[name.replace(".base_layer", "")] = tensor
    with torch.no_grad():
        if session.method == "full":
            out.update(session.named())
        for name, module in causal.named_modules():
            if hasattr(module, "lora_A") and "default" in module.lora_A:
                packed = getattr(module, "rung_packed", None)
                own = packed.open(torch.float32) if packed is not None else out[f"{name}.weight"].float()
                if module.lora_variant:
                    merged = module.lora_variant["default"].merge_safe(module, "default", own.clone())
                else:
                    low, high = module.lora_A["default"].weight, module.lora_B["default"].weight
                    merged = own + module.scaling["default"] * (high.float() @ low.float())
                out[f"{name}.weight"] = merged
    for name, tensor in out.items():
        if not torch.isfinite(tensor).all():
            raise FitError(f"the weight {name} is not finite", remedy="train again at a lower learning rate")
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
        with disk_errors(folder):
            write_file(staging / "model.safetensors", save(data, {"format": "pt"}))
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def save_merged(
    kind: Literal["folder", "openvino"] | Precision,
    weights: dict[str, torch.Tensor],
    session: Session,
    target: Path,
    *,
    name: str,
    rows: Sequence[TokenRow],
) -> None:
    """Write the merged weights of ``session`` as an export of ``kind``; the blocks of q4 are weighed by what ``rows``
    send through it (none: they are rounded plainly). Raises as the writer of that kind does."""
    if kind == "folder":
        save_folder(weights, session.base, target)
    elif kind == "openvino":
        save_openvino(weights, session.base, target, name=name)
    else:
        rounder = weighted(measure(session, some(rows))) if kind == "q4" and rows else plain
        save_gguf(weights, session.base, target, kind, name=name, rounder=rounder)


def save_gguf(
    weights: dict[str, torch.Tensor],
    base: Base,
    path: Path,
    precision: Precision,
    *,
    name: str = "",
    rounder: Rounder = plain,
) -> Path:
    """Write merged weights as GGUF: tensor names by the gguf package's map, metadata (tokenizer, chat template) from
    the base's own file. Matrices become F16, Q8_0 or Q4_0 (32 values a block; a matrix whose rows do not divide stays
    F16), vectors stay F32. Q4_0 blocks are made by ``rounder``. In q4 the embeddings, which are also the output head
    where the two are tied, and the head itself are Q8_0: every answer's probabilities come out of them, and the
    engine's reader takes no tied embedding of fewer bits.

    The file appears whole or not at all. Raises Unsupported when the base was not a GGUF, FitError when tensors do not
    match it or the disk refuses.
    """
    gguf = require("gguf", "tuning", "writing a GGUF")
    from transformers import AutoConfig

    if base.gguf is None:
        raise Unsupported(
            "the base was read from a Hugging Face folder, so there is no GGUF whose tokenizer could be copied",
            remedy="tune a base that is a GGUF file, for example openvino:smollm2-135m",
        )
    fields, tensors = layout(base.gguf)
    architecture = str(fields["general.architecture"].value)
    config = AutoConfig.from_pretrained(base.folder)
    names = gguf_names(gguf, architecture, config.num_hidden_layers, weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(path.parent), atomic_write(path) as part:
        writer = gguf.GGUFWriter(part, architecture)
        _copy_fields(gguf, fields, writer, precision, name)
        missing = sorted({tensor.name for tensor in tensors} - set(names) - {"rope_freqs.weight"})
        if missing:
            raise FitError(
                f"the tuned model has no tensor for {', '.join(missing[:3])}",
                remedy="this architecture cannot be exported to GGUF",
            )
        whole = np.memmap(base.gguf, np.uint8, "r")
        for source in tensors:
            if source.name not in names:
                kind = gguf.GGMLQuantizationType(source.kind)
                writer.add_tensor(source.name, stored(whole, source), raw_dtype=kind)
                continue
            own = names[source.name]
            data = _checked(source, weights[own].numpy())
            kind = gguf.GGMLQuantizationType[_kind(source.name, data.shape, precision)]
            packed = rounder(own, data) if kind.name == "Q4_0" else gguf.quants.quantize(data, kind)
            writer.add_tensor(source.name, rotary_rows(packed, own, config), raw_dtype=kind)
        finish(writer)
    return path


def _checked(source: StoredTensor, data: NDArray[np.float32]) -> NDArray[np.float32]:
    if data.shape != source.shape[::-1]:
        raise FitError(
            f"{source.name} has shape {data.shape}, the base's file says {source.shape[::-1]}",
            remedy="the adapter does not belong to this base: tune again",
        )
    if np.abs(data).max() > np.finfo(np.float16).max:
        raise FitError(
            f"{source.name} holds {np.abs(data).max():.3g}, which 16 bits cannot",
            remedy="train again at a lower learning rate",
        )
    return data


def _kind(name: str, shape: tuple[int, ...], precision: Precision) -> str:
    """The GGUF type of a tensor."""
    if len(shape) < 2:
        return "F32"
    if precision == "f16" or shape[-1] % BLOCK:
        return "F16"
    return "Q4_0" if precision == "q4" and name not in ("token_embd.weight", "output.weight") else "Q8_0"


def save_openvino(weights: dict[str, torch.Tensor], base: Base, folder: Path, *, name: str = "") -> Path:
    """Write merged weights as an OpenVINO folder with 16-bit weights: the graph, tokenizer and detokenizer (xml and
    bin), config, generation config and chat template. openvino-genai's ``LLMPipeline(folder)`` and ``openvino:FOLDER``
    open it.

    The folder appears whole or not at all. Raises Unsupported when the base was not a GGUF, MissingExtra without
    openvino-genai, FitError when the disk refuses.
    """
    require("openvino_genai", "embedded", "writing an OpenVINO folder")
    from transformers import AutoTokenizer

    from rung.models.engine.files.convert import convert

    staging = folder.with_name(f".{folder.name}.part{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        source = save_gguf(weights, base, staging / "model.gguf", "f16", name=name)
        with disk_errors(folder), quiet():
            graph = convert(source, staging / "graph")  # and the tokenizer
            AutoTokenizer.from_pretrained(base.folder).save_pretrained(staging)
            for path in (
                *graph.parent.iterdir(),
                *map(base.folder.joinpath, ("config.json", "generation_config.json")),
            ):
                if path.is_file():
                    shutil.copyfile(path, staging / path.name)
            shutil.rmtree(graph.parent)
            source.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return folder


def rotary_rows(weight: NDArray[Any], name: str, config: Any) -> NDArray[Any]:
    """Rows of a matrix, or its blocks by rows, in the order in which GGUF has them."""
    if config.model_type not in PERMUTED or not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    return permute(weight, config.num_attention_heads if ".q_proj" in name else config.num_key_value_heads)


def permute(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows of a q or k projection from Hugging Face's half-split rotary order to GGUF's interleaved one (llama.cpp's
    ``convert_hf_to_gguf``)."""
    rows, *rest = weight.shape
    return np.ascontiguousarray(
        weight.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2).reshape(weight.shape)
    )


def gguf_names(gguf: Any, architecture: str, layers: int, weights: Mapping[str, torch.Tensor]) -> dict[str, str]:
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


def _copy_fields(gguf: Any, fields: Mapping[str, Field], writer: Any, precision: Precision, name: str) -> None:
    copy_fields(fields, writer, ("general.file_type", "general.quantization_version", "general.name"))
    source = fields.get("general.name")
    writer.add_name(name or ("tuned" if source is None else str(source.value)))
    kinds = gguf.LlamaFileType
    said = {"f16": kinds.MOSTLY_F16, "q8": kinds.MOSTLY_Q8_0, "q4": kinds.MOSTLY_Q4_0}
    writer.add_file_type(said[precision])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What the disk refuses as FitError."""
    try:
        yield
    except OSError as error:
        raise FitError(
            f"cannot write the weights to {folder}: {error.strerror or error}",
            remedy="free some disk space and run the same again; what was trained is kept",
        ) from error
