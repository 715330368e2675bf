"""Parts really taken out: layers, heads with their keys, channels of the feed-forward blocks; and weights set to zero
in a pattern.

What is left is an ordinary model of the same kind with smaller numbers in its head, as GGUF and as a Hugging Face
folder, so the same engines open it, and it can be tuned, rounded and served like any base.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rung.compression.calibration import Calibration
from rung.core.errors import InputError, Unsupported
from rung.core.parts.program import file_hash
from rung.core.system.extras import require
from rung.core.system.files import atomic_write, write_file
from rung.models.engine.files.gguf import Field, copy_fields, finish, layout
from rung.tuning.compute import export
from rung.tuning.compute.rounding import BLOCK
from rung.tuning.weights import Base

if TYPE_CHECKING:
    import torch

Weights = Mapping[str, "torch.Tensor"]
CUTTABLE = ("llama", "mistral", "qwen2", "qwen3")
"""Kinds of model whose parts lie where they are looked for."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Shares of the layers, of the groups of heads that have keys in common, and of the feed-forward channels to take
    out."""

    layers: float = 0.0
    heads: float = 0.0
    channels: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.layers or self.heads or self.channels)


@dataclass(frozen=True, slots=True)
class KeptParts:
    """What stays: layers, and in each of them groups of heads and channels, as many in every layer."""

    layers: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    channels: tuple[NDArray[np.intp], ...]

    def __str__(self) -> str:
        return f"{len(self.layers)} layers, {len(self.groups[0])} groups of heads, {len(self.channels[0])} channels"


def choose(cut: Cut, weights: Weights, config: Any, calibration: Calibration) -> KeptParts:
    """What stays of a model: the layers that turn their input most, and of each the heads and channels whose outputs
    are largest on the calibration rows. Channels stay in whole blocks of 32.

    Raises InputError (code "cut") for a share that leaves nothing, or takes nothing.
    """
    if config.model_type not in CUTTABLE:
        raise Unsupported(f"{config.model_type} models cannot be cut", remedy=f"expected {', '.join(CUTTABLE)}")
    total, groups, inner = config.num_hidden_layers, config.num_key_value_heads, config.intermediate_size
    stay = _left("layers", total, cut.layers)
    left = _left("groups of heads", groups, cut.heads)
    wide = inner if not cut.channels else BLOCK * _left(f"blocks of {BLOCK} channels", inner // BLOCK, cut.channels)
    layers = sorted(np.argsort(calibration.influence)[::-1][:stay].tolist())
    chosen, channels = [], []
    for layer in layers:
        output = f"model.layers.{layer}.self_attn.o_proj.weight"
        down = f"model.layers.{layer}.mlp.down_proj.weight"
        by_group = calibration.outputs(output, weights[output].float().numpy()).reshape(groups, -1).sum(1)
        chosen.append(tuple(sorted(np.argsort(by_group)[::-1][:left].tolist())))
        by_channel = calibration.outputs(down, weights[down].float().numpy())
        channels.append(np.sort(np.argsort(by_channel)[::-1][:wide]))
    return KeptParts(tuple(layers), tuple(chosen), tuple(channels))


def _left(what: str, count: int, share: float) -> int:
    gone = round(count * share)
    if not 0 <= share < 1 or gone >= count:
        raise InputError(
            f"a share of {share:g} of {count} {what} leaves none",
            remedy=f"expected below {1 - 0.5 / count:.2f}",
            code="cut",
        )
    if share and not gone:
        raise InputError(
            f"a share of {share:g} of {count} {what} takes none",
            remedy=f"expected {0.5 / count:.2f} or more",
            code="cut",
        )
    return count - gone


def cut(weights: Weights, config: Any, kept: KeptParts) -> dict[str, torch.Tensor]:
    """The weights that stay, layers numbered anew. Shapes: q (heads d, width), k and v (groups d, width), o (width,
    heads d), gate and up (channels, width), down (width, channels)."""
    import torch

    size = head_size(config)
    each = config.num_attention_heads // config.num_key_value_heads
    out = {name: tensor for name, tensor in weights.items() if not name.startswith("model.layers.")}
    for place, (layer, groups, channels) in enumerate(zip(kept.layers, kept.groups, kept.channels, strict=True)):
        keys = torch.as_tensor([group * size + at for group in groups for at in range(size)])
        span = each * size
        heads = torch.as_tensor([group * span + at for group in groups for at in range(span)])
        inner = torch.as_tensor(channels)
        rows = {"q_proj": heads, "k_proj": keys, "v_proj": keys, "gate_proj": inner, "up_proj": inner}
        columns = {"o_proj": heads, "down_proj": inner}
        prefix = f"model.layers.{layer}."
        for name, tensor in weights.items():
            if name.startswith(prefix):
                part = name.split(".")[-2]
                if part in rows:
                    tensor = tensor[rows[part]]
                elif part in columns:
                    tensor = tensor[:, columns[part]]
                out[f"model.layers.{place}.{name.removeprefix(prefix)}"] = tensor.contiguous()
    return out


def head_size(config: Any) -> int:
    """Numbers of a head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def sizes(config: Any, kept: KeptParts) -> dict[str, int]:
    """The configuration's numbers that a cut changes, and the head's size, which no longer follows from them."""
    each = config.num_attention_heads // config.num_key_value_heads
    return {
        "num_hidden_layers": len(kept.layers),
        "num_key_value_heads": len(kept.groups[0]),
        "num_attention_heads": each * len(kept.groups[0]),
        "intermediate_size": len(kept.channels[0]),
        "head_dim": head_size(config),
    }


def write_base(weights: Weights, base: Base, changed: Mapping[str, int], folder: Path) -> Base:
    """A model as a base of its own in ``folder``: a Hugging Face folder in 16 bits and ``base.gguf`` (F16). With
    ``changed`` sizes.

    Both appear whole or not at all. Raises Unsupported when the base was no GGUF, FitError when the disk refuses.
    """
    from transformers import AutoConfig

    gguf = require("gguf", "tuning", "writing a GGUF")
    if base.gguf is None:
        raise Unsupported(
            "the base was read from a folder", remedy="compress a GGUF, for example openvino:smollm2-135m"
        )
    folder.mkdir(parents=True, exist_ok=True)
    hub = export.save_folder(dict(weights), base, folder / "base", dtype="float16")
    path = hub / "config.json"
    document = {**json.loads(path.read_text(encoding="utf-8")), **changed}
    if kinds := document.get("layer_types"):
        document["layer_types"] = kinds[: document["num_hidden_layers"]]
    write_file(path, json.dumps(document, indent=1).encode())
    config = AutoConfig.from_pretrained(hub)
    fields, _ = layout(base.gguf)
    architecture = str(fields["general.architecture"].value)
    names = export.gguf_names(gguf, architecture, config.num_hidden_layers, weights)
    target = folder / "base.gguf"
    with export.disk_errors(folder), atomic_write(target) as part:
        writer = gguf.GGUFWriter(part, architecture)
        copy_fields(
            _resized(fields, architecture, changed), writer, ("general.file_type", "general.quantization_version")
        )
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        for name, own in names.items():
            data = weights[own].float().numpy()
            if data.ndim > 1:
                data = export.rotary_rows(data, own, config).astype(np.float16)
            writer.add_tensor(name, data)
        finish(writer)
    return Base(hub, target, file_hash(target))


def _resized(fields: Mapping[str, Field], architecture: str, changed: Mapping[str, int]) -> dict[str, Field]:
    """The head's fields with the changed sizes; INT32 (4 is GGUF's UINT32) where a field is new."""
    names = {
        "num_hidden_layers": ("block_count",),
        "num_attention_heads": ("attention.head_count",),
        "num_key_value_heads": ("attention.head_count_kv",),
        "intermediate_size": ("feed_forward_length",),
        "head_dim": ("attention.key_length", "attention.value_length", "rope.dimension_count"),
    }
    out = dict(fields)
    for own, value in changed.items():
        for name in names[own]:
            key = f"{architecture}.{name}"
            out[key] = Field(value, out[key].kind if key in out else 4)
    return out


def masks(weights: Weights, squares: Mapping[str, NDArray[np.float32]], pattern: str) -> dict[str, torch.Tensor]:
    """Which weights stay, by their size times the root of their input's mean square (Wanda, arXiv:2306.11695): in each
    row the share that ``pattern`` leaves ("0.5": half of them go), or two of each four ("2:4"). Raises InputError (code
    "cut")."""
    import torch

    share = share_of(pattern)
    out = {}
    for name, seen in squares.items():
        worth = weights[name].float().abs() * torch.from_numpy(np.sqrt(seen))
        rows, columns = worth.shape
        if pattern == "2:4":
            if columns % 4:
                raise InputError(
                    f"{name} has {columns} columns, not a multiple of 4", remedy="choose a share", code="cut"
                )
            low = worth.view(rows, -1, 4).argsort(-1)[..., :2]
            mask = (
                torch.ones(rows, columns // 4, 4, dtype=torch.bool).scatter_(-1, low, value=False).view(rows, columns)
            )
        else:
            gone = worth.argsort(-1)[:, : round(columns * share)]
            mask = torch.ones_like(worth, dtype=torch.bool).scatter_(-1, gone, value=False)
        out[name] = mask
    return out


def share_of(pattern: str) -> float:
    """The share of zeros that a pattern asks for. Raises InputError (code "cut")."""
    if pattern == "2:4":
        return 0.5
    try:
        share = float(pattern)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise InputError(f"sparsity is {pattern!r}", remedy="expected a share between 0 and 1, or 2:4", code="cut")
    return share


def remove(folder: Path, names: Sequence[str]) -> None:
    """Delete parts that nobody needs any more."""
    for name in names:
        place = folder / name
        shutil.rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink(missing_ok=True)
