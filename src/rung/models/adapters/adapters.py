"""Adapters beside a base that is left as it is: PEFT folders (LoRA, prompt and prefix tuning), and bottleneck adapter
modules of our own (Houlsby et al. 2019, arXiv:1902.00751; Pfeiffer et al. 2020, arXiv:2005.00247).

A folder holds ``adapter_config.json`` and ``adapter_model.safetensors``, and ``rung.json`` says which base it was tuned
on. Bottleneck modules sit behind each layer's MLP: h + up(relu(down(h))), ``up`` beginning at zero, so that a fresh one
changes nothing.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.codec import digest
from rung.core.errors import InputError
from rung.core.parts.program import file_hash
from rung.core.system.extras import require
from rung.models import hub

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS, NOTE = "adapter_config.json", "adapter_model.safetensors", "rung.json"
BOTTLENECK = "BOTTLENECK"


@dataclass(frozen=True, slots=True)
class Modules:
    """Bottleneck modules: ``widths`` by name, in the order in which they are applied, one behind the other."""

    widths: Mapping[str, int]

    def document(self, base: str) -> dict[str, Any]:
        """What ``adapter_config.json`` says."""
        return {
            "peft_type": BOTTLENECK,
            "base_model_name_or_path": base,
            "widths": dict(self.widths),
        }


def is_adapter(path: Path) -> bool:
    """Whether a folder is an adapter rather than a whole model."""
    return (path / CONFIG).is_file() and not (path / "config.json").is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's configuration. Raises InputError for a folder that is no adapter."""
    try:
        document = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(document, dict) or not document.get("base_model_name_or_path"):
            raise ValueError("it names no base_model_name_or_path")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} holds no readable {CONFIG}: {error}", remedy="name a folder that `rung tune` or peft wrote"
        ) from None
    if not (folder / WEIGHTS).is_file():
        raise InputError(
            f"{folder} holds no {WEIGHTS} (pickled weights are refused: loading them runs code)",
            remedy="save the adapter again with safe_serialization=True",
        )
    return document


def tuned_on(folder: Path) -> tuple[str, str]:
    """The name of the base that the adapter was tuned on, and its hash ("": not known)."""
    config = read_config(folder)
    try:
        said = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        return str(said["base"]), str(said["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(config["base_model_name_or_path"]), ""


def check_base(folder: Path, path: Path) -> None:
    """Raise InputError when the adapter was tuned on another file than ``path``."""
    _, key = tuned_on(folder)
    if key and path.is_file() and file_hash(path) != key:
        raise InputError(
            f"the adapter {folder} was tuned on another base than {path} (SHA-256 {key[:12]}..., got {file_hash(path)[:12]}...)",
            remedy="give the adapter its own base, or tune again",
        )


def base_of(folder: Path, cache: Path) -> Path:
    """Where the base of an adapter lies. Raises InputError when it is not the one that the adapter was tuned on."""
    path = hub.locate(tuned_on(folder)[0], cache)
    check_base(folder, path)
    return path


def name_of(place: Path, key: str) -> str:
    """What a base is called: its catalogue name where it has one (an adapter may travel), else its path."""
    names = [weights.name for weights in hub.CATALOGUE.values() for member in weights.members if member.sha256 == key]
    return names[0] if names else str(place)


def note(folder: Path, base: str, key: str) -> None:
    """Write down which base the adapter in ``folder`` was tuned on."""
    document = {"base": base, "key": key}
    (folder / NOTE).write_text(json.dumps(document, indent=1), encoding="utf-8")


def attach(model: Any, folder: Path) -> tuple[Any, tuple[int, ...]]:
    """Put the folder's adapter on a loaded base: the model to call, and the ids of virtual tokens that go before every
    prompt.

    Prompt and prefix tuning are not left to peft, which prepends its tokens again at every call with a cache: the
    virtual tokens become ids behind the vocabulary, with embeddings of their own (prompt), or with keys and values of
    their own in every layer (prefix). Raises InputError when the adapter does not belong to this base.
    """
    config = read_config(folder)
    kind = str(config.get("peft_type", ""))
    try:
        if kind == BOTTLENECK:
            insert(model, Modules(config["widths"]))
            load(model, folder)
            return model, ()
        if kind in ("PROMPT_TUNING", "PREFIX_TUNING"):
            return model, _front(model, tensors(folder)["prompt_embeddings"], kind == "PREFIX_TUNING")
        peft = require("peft", "tuning", f"the adapter {folder}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the two libraries to one another
            return peft.PeftModel.from_pretrained(model, str(folder)).eval(), ()
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _mismatch(folder, str(error)) from None


def _front(model: Any, trained: Tensor, prefix: bool) -> tuple[int, ...]:
    import torch

    table = model.get_input_embeddings().weight.data
    count, size = len(trained), table.shape[0]
    rows = table.new_zeros(count, table.shape[1]) if prefix else trained.to(table)
    grown = torch.nn.Embedding.from_pretrained(torch.cat([table, rows]))  # the output head keeps the old one
    model.set_input_embeddings(grown)
    if prefix:
        config, layers = model.config, layers_of(model)
        heads = config.num_key_value_heads
        parts = trained.reshape(count, len(layers), 2, heads, -1).permute(1, 2, 3, 0, 4)
        for layer, part in zip(layers, parts, strict=True):
            layer.self_attn.rung_prefix = part.to(table).contiguous()
        model.set_attn_implementation(_register())
    return tuple(range(size, size + count))


def _register() -> str:
    """Attention whose first keys and values are the trained ones; the sequence must begin with the virtual tokens."""
    import torch
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    def attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        own = module.rung_prefix
        key, value = (
            torch.cat([mine.expand(len(seen), -1, -1, -1), seen[:, :, mine.shape[1] :]], 2)
            for mine, seen in zip(own, (key, value), strict=True)
        )
        return sdpa_attention_forward(module, query, key, value, mask, **options)

    AttentionInterface.register("rung-prefix", attend)
    AttentionMaskInterface.register("rung-prefix", sdpa_mask)
    return "rung-prefix"


def _mismatch(folder: Path, said: str) -> InputError:
    return InputError(
        f"the adapter {folder} does not fit this base: {' '.join(said.split())[:200]}",
        remedy="give the adapter its own base, or tune again",
    )


def layers_of(model: Any) -> Any:
    """The decoder layers of a causal language model. Raises InputError for a model whose layers have no ``mlp``."""
    layers = getattr(model.base_model, "layers", None)
    if layers is None or not all(hasattr(layer, "mlp") for layer in layers):
        raise InputError(
            f"{type(model).__name__} has no layers with an mlp to put adapters behind",
            remedy="use LoRA, or a model of the llama, qwen2 or qwen3 family",
        )
    return layers


def insert(model: Any, modules: Modules) -> list[tuple[str, Any]]:
    """Put fresh bottleneck modules behind every layer's MLP (seed torch before); their parameters by name, float32."""
    torch = require("torch", "tuning", "adapter modules")
    block = _block_class(torch)
    named = []
    for index, layer in enumerate(layers_of(model)):
        width = next(parameter.shape[0] for name, parameter in layer.mlp.named_parameters() if "down_proj" in name)
        layer.mlp.adapters = block(width, modules).to(next(layer.parameters()).device)
        layer.mlp.register_forward_hook(lambda module, _, output: module.adapters(output))
        named += [(f"layers.{index}.{name}", part) for name, part in layer.mlp.adapters.named_parameters()]
    return named


def parameters(model: Any) -> dict[str, Tensor]:
    """The modules' parameters by the names they have in a file."""
    return {
        f"layers.{index}.{name}": part
        for index, layer in enumerate(layers_of(model))
        for name, part in layer.mlp.adapters.named_parameters()
    }


def load(model: Any, folder: Path) -> None:
    """Read a folder's weights into inserted modules of the same names and widths."""
    _fill(parameters(model), tensors(folder), folder)


def tensors(folder: Path) -> dict[str, Tensor]:
    """The adapter's weights by name. Raises InputError for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_config(folder)
    try:
        return dict(sorted(load_file(folder / WEIGHTS).items()))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"cannot read the adapter {folder / WEIGHTS}: {error}", remedy="tune again, or copy it again"
        ) from None


def _fill(here: Mapping[str, Tensor], tensors: Mapping[str, Tensor], folder: Path) -> None:
    import torch

    for name, part in here.items():
        found = tensors.get(name)
        if found is None or found.shape != part.shape:
            got = "nothing" if found is None else f"shape {tuple(found.shape)}"
            raise _mismatch(folder, f"it has {got} for {name}, expected {tuple(part.shape)}")
        with torch.no_grad():
            part.copy_(found)


def fingerprint(folder: Path) -> dict[str, str]:
    """Hashes of the adapter's weights and of what its config says of them, such as the scaling, by file name. Raises
    InputError."""
    # Not the base's path, which differs between machines.
    said = {name: value for name, value in read_config(folder).items() if name != "base_model_name_or_path"}
    return {WEIGHTS: file_hash(folder / WEIGHTS), CONFIG: digest(said)}


def _block_class(torch: Any) -> Any:
    """The module classes, made when torch is there."""
    functional = torch.nn.functional

    def linear(x: Any, part: Any) -> Any:
        bias = None if part.bias is None else part.bias.to(x.dtype)
        return functional.linear(x, part.weight.to(x.dtype), bias)

    class Bottleneck(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, hidden: int, width: int) -> None:
            super().__init__()
            self.down, self.up = torch.nn.Linear(hidden, width), torch.nn.Linear(width, hidden)
            torch.nn.init.zeros_(self.up.weight)
            torch.nn.init.zeros_(self.up.bias)

        def forward(self, x: Any) -> Any:
            return x + linear(functional.relu(linear(x, self.down)), self.up)

    class Block(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, hidden: int, modules: Modules) -> None:
            super().__init__()
            self.tasks = torch.nn.ModuleDict(
                {name: Bottleneck(hidden, width) for name, width in modules.widths.items()}
            )

        def forward(self, x: Any) -> Any:
            for part in self.tasks.values():
                x = part(x)
            return x

    return Block
