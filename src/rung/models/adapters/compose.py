"""One adapter out of several of the same base: merged into one, or stacked one behind the other.

Merging LoRA with ``cat`` is exact: the matrices lie side by side, and what is added to the base's weights is the
weighted sum of what each adapter adds; ranks add up. ``linear`` keeps the rank by adding the matrices themselves, as
peft's ``add_weighted_adapter`` does, which is another thing than the sum of their products. Bottleneck modules the same
way: ``cat`` puts them side by side, h + sum of weight * up(relu(down(h))), which is one wider module; ``linear`` is the
mean of their parameters (AdapterSoup, Chronopoulou et al. 2023, arXiv:2302.07027) and wants modules that began alike.
``stack`` puts bottleneck modules one behind the other (Pfeiffer et al. 2020, arXiv:2005.00247).
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rung.core.errors import InputError, RungError, Unsupported
from rung.core.system.files import write_file
from rung.models.adapters import adapters

if TYPE_CHECKING:
    from torch import Tensor

How = Literal["cat", "linear"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter as it lies in a folder. ``base`` and ``key`` (its SHA-256, "" where it is not known) are what it was
    tuned on."""

    folder: Path
    kind: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    base: str
    key: str

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def scaling(self) -> float:
        """What LoRA's product is multiplied by."""
        rank = int(self.config["r"])
        return float(self.config["lora_alpha"]) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def read(folder: Path) -> Adapter:
    """Read a folder. Raises InputError when it is no adapter."""
    config = adapters.read_config(folder)
    tensors = adapters.tensors(folder)
    base, key = adapters.tuned_on(folder)
    return Adapter(folder, str(config.get("peft_type", "")), config, tensors, base, key)


def merge(folders: Sequence[Path], weights: Sequence[float], how: How, to: Path) -> Adapter:
    """Write the weighted sum of several LoRA or several bottleneck adapters to the new folder ``to``; no ``weights``:
    the mean.

    Raises InputError for adapters of different bases, kinds or shapes, and Unsupported for ones that cannot be added
    up.
    """
    parts = _together(folders, to)
    shares = list(weights) or [1 / len(parts)] * len(parts)
    if len(shares) != len(parts) or not all(math.isfinite(share) for share in shares):
        raise InputError(
            f"got {len(shares)} weights for {len(parts)} adapters: {', '.join(f'{share:g}' for share in shares)}",
            remedy="give each adapter one number, for example --weights 0.5,0.5",
        )
    kind = parts[0].kind
    if kind == "LORA":
        config, tensors = _merge_lora(parts, shares, how)
    elif kind == adapters.BOTTLENECK:
        config, tensors = _merge_modules(parts, shares, how)
    else:
        raise Unsupported(f"adapters of kind {kind} cannot be merged", remedy="merge LoRA or bottleneck adapters")
    return _save(parts[0], config, tensors, to)


def stack(folders: Sequence[Path], to: Path) -> Adapter:
    """Write several bottleneck adapters, applied in the order given, as one to the new folder ``to``.

    Raises InputError for adapters of different bases, Unsupported for other kinds.
    """
    parts = _together(folders, to)
    if parts[0].kind != adapters.BOTTLENECK or any(part.config.get("fused") for part in parts):
        raise Unsupported(
            f"only bottleneck modules are applied one behind the other, and {parts[0].folder} is {_called(parts[0])}",
            remedy="LoRA changes are added up instead: rung adapters merge A B --to C",
        )
    widths: dict[str, int] = {}
    tensors: dict[str, Tensor] = {}
    for part in parts:
        for name, width in part.config["widths"].items():
            own = f"{len(widths)}_{re.sub(r'^[0-9]+_', '', name)}"  # numbered: the order is part of what is computed
            widths[own] = width
            for key, tensor in part.tensors.items():
                if f".tasks.{name}." in key:
                    tensors[key.replace(f".tasks.{name}.", f".tasks.{own}.")] = tensor
    return _save(parts[0], {**parts[0].config, "widths": widths}, tensors, to)


def _together(folders: Sequence[Path], to: Path) -> list[Adapter]:
    if len(folders) < 2:
        raise InputError(f"got {len(folders)} adapter, expected at least two", remedy="name the folders of several")
    if to.exists():
        raise InputError(f"{to} is there already", remedy="name a new folder, or delete it")
    parts = [read(folder) for folder in folders]
    first = parts[0]
    for part in parts[1:]:
        if part.kind != first.kind:
            raise InputError(
                f"{first.folder} is {_called(first)} and {part.folder} is {_called(part)}: they do not go into one",
                remedy="compose adapters of one kind",
            )
        if part.key != first.key if part.key and first.key else part.base != first.base:
            raise InputError(
                f"{first.folder} was tuned on {first.base} ({first.key[:12]}...), {part.folder} on {part.base} "
                f"({part.key[:12]}...)",
                remedy="compose adapters of one base",
            )
    return parts


def _called(part: Adapter) -> str:
    return part.kind.lower().replace("_", " ") + (" fused" if part.config.get("fused") else "")


def _plain(parts: Sequence[Adapter]) -> dict[str, list[tuple[int, Tensor]]]:
    """The matrices of each name, with the place of their adapter. Raises Unsupported for what is not plain LoRA."""
    found: dict[str, list[tuple[int, Tensor]]] = {}
    for place, part in enumerate(parts):
        if said := next((name for name in _NOT_PLAIN if part.config.get(name)), ""):
            raise Unsupported(
                f"{part.folder} has {said}, which cannot be added up", remedy="merge it into its base instead"
            )
        for name, tensor in part.tensors.items():
            if not name.endswith((".lora_A.weight", ".lora_B.weight")):
                raise Unsupported(f"{part.folder} changes {name}, which cannot be added up", remedy="use plain LoRA")
            found.setdefault(name, []).append((place, tensor))
    return found


_NOT_PLAIN = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out", "layers_pattern")


def _merge_lora(
    parts: Sequence[Adapter], shares: Sequence[float], how: How
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    import torch

    ranks = [int(part.config["r"]) for part in parts]
    if how == "linear" and len(set(ranks)) > 1:
        raise InputError(f"the ranks are {', '.join(map(str, ranks))}: linear wants equal ones", remedy="--how cat")
    rank = sum(ranks) if how == "cat" else ranks[0]
    out: dict[str, Tensor] = {}
    for name, held in _plain(parts).items():
        low = name.endswith(".lora_A.weight")
        width = held[0][1].shape[1 if low else 0]
        if any(tensor.shape != ((ranks[at], width) if low else (width, ranks[at])) for at, tensor in held):
            shapes = ", ".join(str(tuple(tensor.shape)) for _, tensor in held)
            raise InputError(f"{name} has shapes {shapes}", remedy="compose adapters of one base")
        whole = torch.zeros((rank, width) if low else (width, rank))
        for at, tensor in held:
            factor = shares[at] * parts[at].scaling
            if how == "cat":
                start = sum(ranks[:at])
                if low:
                    whole[start : start + ranks[at]] = tensor.float()
                else:
                    whole[:, start : start + ranks[at]] = tensor.float() * factor
            else:
                whole += tensor.float() * math.copysign(math.sqrt(abs(factor)), factor if low else 1.0)
        out[name] = whole
    targets = sorted({target for part in parts for target in _targets(part)})
    config = {**parts[0].config, "r": rank, "lora_alpha": rank, "use_rslora": False, "target_modules": targets}
    # Layers that only one of them adapts stay in; elsewhere peft puts zeros.
    return {**config, "layers_to_transform": None, "exclude_modules": None}, out


def _targets(part: Adapter) -> list[str]:
    targets = part.config.get("target_modules")
    return (
        [name.rpartition(".")[2] for name in {key.rpartition(".lora_")[0] for key in part.tensors}]
        if isinstance(targets, str) or not targets
        else list(targets)
    )


def _merge_modules(
    parts: Sequence[Adapter], shares: Sequence[float], how: How
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    import torch

    names = []
    for part in parts:
        if part.config.get("fused") or len(part.config["widths"]) != 1:
            raise Unsupported(
                f"{part.folder} holds {len(part.config['widths'])} modules a layer, and only single ones can be merged",
                remedy="rung adapters stack puts them one behind the other",
            )
        names.append(next(iter(part.config["widths"])))
    widths = [int(part.config["widths"][name]) for part, name in zip(parts, names, strict=True)]
    if how == "linear" and len(set(widths)) > 1:
        raise InputError(f"the widths are {', '.join(map(str, widths))}: linear wants equal ones", remedy="--how cat")
    out = {}
    for key, first in parts[0].tensors.items():
        held = []
        for part, name in zip(parts, names, strict=True):
            tensor = part.tensors.get(key.replace(f".tasks.{names[0]}.", f".tasks.{name}."))
            if tensor is None:
                raise InputError(f"{part.folder} has no {key}", remedy="compose adapters of one base")
            held.append(tensor.float())
        down = ".down." in key
        if how == "cat" and down:
            out[key] = torch.cat(held)
        elif how == "cat" and first.ndim > 1:
            out[key] = torch.cat([tensor * share for tensor, share in zip(held, shares, strict=True)], 1)
        else:
            out[key] = sum(
                (tensor * share for tensor, share in zip(held, shares, strict=True)), torch.zeros(first.shape)
            )
    width = sum(widths) if how == "cat" else widths[0]
    return {**parts[0].config, "widths": {names[0]: width}}, out


def _save(like: Adapter, config: Mapping[str, Any], tensors: Mapping[str, Tensor], to: Path) -> Adapter:
    """The folder appears whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save

    staging = to.with_name(f".{to.name}.part{os.getpid()}")
    try:
        staging.mkdir(parents=True)
        data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"format": "pt"})
        write_file(staging / adapters.WEIGHTS, data)
        write_file(staging / adapters.CONFIG, json.dumps(config, indent=1).encode())
        adapters.note(staging, like.base, like.key)
        staging.rename(to)
    except (OSError, SafetensorError) as error:
        raise RungError(
            f"cannot write {to}: {getattr(error, 'strerror', None) or error}",
            remedy="free some disk space, or name another place",
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return read(to)
