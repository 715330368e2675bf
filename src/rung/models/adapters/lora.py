"""LoRA adapters beside a base in the embedded engine: many at once in one batch, chosen by each request, without
reloading.

Every adapted matrix gets a second path, y + ((x A^T) * m) B^T. A and B of all adapters lie side by side along their
ranks, and ``m`` (tokens, ranks) lets each token through its own adapter's columns only, so requests of different
adapters share a forward pass (as in S-LoRA, Sheng et al. 2023, arXiv:2311.03285). A, B and m are inputs of the graph:
an adapter that comes or goes changes tensors, not the compiled model.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.codec import digest
from rung.core.errors import InputError, Unsupported
from rung.core.system.extras import require
from rung.models.adapters import adapters

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXTRA = "embedded"
WHY = "adapters in the embedded engine"
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""A layer's matrices in the order in which openvino-genai's GGUF reader makes them."""


@dataclass(frozen=True)
class Lora:
    """An adapter's matrices by (layer, module): A of shape (rank, in) and B of shape (out, rank) with the scaling in
    it."""

    folder: Path
    key: str
    rank: int
    matrices: dict[tuple[int, str], tuple[NDArray[np.float32], NDArray[np.float32]]]


def read(folder: Path) -> Lora:
    """Read a PEFT LoRA folder. Raises Unsupported for other adapters (and DoRA), InputError for a folder that is
    none."""
    config = adapters.read_config(folder)
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("bias", "none") != "none":
        raise Unsupported(
            f"the embedded engine runs plain LoRA beside its base, and {folder} is {config.get('peft_type')}"
            f"{' with DoRA' if config.get('use_dora') else ''}",
            remedy="use transformers:FOLDER, or merge it into a GGUF of its own",
        )
    try:
        tensors = require("safetensors.numpy", EXTRA, WHY).load_file(folder / adapters.WEIGHTS)
    except Exception as error:  # safetensors' own kind is not importable without it
        raise InputError(f"cannot read {folder / adapters.WEIGHTS}: {error}", remedy="tune or copy it again") from None
    rank = int(config["r"])
    scaling = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    found = matrices(tensors, scaling)
    if not found:
        raise InputError(f"{folder} holds no LoRA matrices", remedy="name the folder that rung tune or peft wrote")
    return Lora(folder, digest(adapters.fingerprint(folder)), rank, found)


def matrices(
    tensors: Mapping[str, NDArray[Any]], scaling: float
) -> dict[tuple[int, str], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """LoRA's tensors by their names in PEFT as A and B by (layer, module), ``scaling`` in B. Raises Unsupported for one
    that is no part of a decoder's layer."""
    import numpy as np

    pairs: dict[tuple[int, str], dict[str, Any]] = {}
    for name, tensor in tensors.items():
        found = re.search(r"layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])\.weight$", name)
        if found is None or found[2] not in MODULES:
            raise Unsupported(
                f"the adapter changes {name}, which the embedded engine cannot", remedy="merge it instead"
            )
        pairs.setdefault((int(found[1]), found[2]), {})[found[3]] = tensor.astype(np.float32)
    return {place: (pair["A"], pair["B"] * np.float32(scaling)) for place, pair in pairs.items() if len(pair) == 2}


class AdapterSlots:
    """The adapters of one engine. ``take`` gives an adapter its number, from 1; ``tensors`` what the graph is fed."""

    def __init__(self) -> None:
        self._loras: list[Lora] = []
        self._lock = threading.Lock()
        self.version = 0

    def take(self, lora: Lora) -> int:
        """The number of the adapter, which is added when it is not there."""
        with self._lock:
            for number, known in enumerate(self._loras, 1):
                if known.key == lora.key:
                    return number
            self._loras.append(lora)
            self.version += 1
            return len(self._loras)

    def replace(self, number: int, lora: Lora) -> None:
        """Put another adapter in the place of one; prompts that it has computed must be forgotten."""
        with self._lock:
            self._loras[number - 1] = lora
            self.version += 1

    def spans(self) -> list[tuple[int, int]]:
        """Columns of each adapter, the first being number 1."""
        out, at = [], 0
        for lora in self._loras:
            out.append((at, at + lora.rank))
            at += lora.rank
        return out

    def matrices(
        self, site: tuple[int, str], shape: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A and B of all adapters at one matrix of shape (out, in), side by side; zeros where an adapter leaves it
        alone."""
        import numpy as np

        out, width = shape
        rows, columns = [], []
        for lora in self._loras:
            a, b = lora.matrices.get(site, (None, None))
            if a is None or b is None:
                a, b = np.zeros((lora.rank, width), np.float32), np.zeros((out, lora.rank), np.float32)
            if a.shape != (lora.rank, width) or b.shape != (out, lora.rank):
                raise InputError(
                    f"the adapter {lora.folder} has shapes {a.shape} and {b.shape} for {site[1]} of layer {site[0]}, the base's "
                    f"matrix is {shape}",
                    remedy="give the adapter its own base",
                )
            rows.append(a)
            columns.append(b)
        if not rows:
            return np.zeros((1, width), np.float32), np.zeros((out, 1), np.float32)
        return np.concatenate(rows), np.ascontiguousarray(np.concatenate(columns, 1))


@dataclass(frozen=True, slots=True)
class Site:
    """One matrix of the graph that adapters change: its inputs are called ``lora.a.NAME`` and ``lora.b.NAME``."""

    layer: int
    module: str
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.layer}.{self.module}"


def attach(graph: Any) -> list[Site]:
    """Give every matrix of the decoder layers its second path; before the graph is compiled.

    Raises Unsupported for a graph whose layers are not seven matrices each in the known order.
    """
    import numpy as np

    ops = require("openvino.opset13", EXTRA, WHY)
    found = []
    for node in graph.get_ordered_ops():
        if node.get_type_name() == "MatMul" and node.get_attributes().get("transpose_b"):
            constant = _constant(node)
            if constant is not None:
                rows, columns = (int(size) for size in node.input_value(1).shape)
                found.append((int(re.sub(r"\D", "", constant.get_friendly_name()) or 0), node, (rows, columns)))
    found.sort(key=lambda item: item[0])
    vocabulary = max(shape[0] for _, _, shape in found)
    layers = [(node, shape) for _, node, shape in found if shape[0] != vocabulary]
    if not layers or len(layers) % len(MODULES):
        raise Unsupported(
            f"this model's graph has {len(layers)} matrices, expected {len(MODULES)} a layer",
            remedy="merge the adapter into a GGUF of its own: rung tune with export: f16",
        )
    sites = []
    mask = ops.parameter([-1, 1, -1], np.float32, name="lora.mask")
    mask.output(0).get_tensor().set_names({"lora.mask"})
    inputs = [mask]
    for place, (node, shape) in enumerate(layers):
        site = Site(place // len(MODULES), MODULES[place % len(MODULES)], shape)
        _fits(site, layers[place - place % len(MODULES) : place - place % len(MODULES) + len(MODULES)])
        a = ops.parameter([-1, shape[1]], np.float32, name=f"lora.a.{site.name}")
        b = ops.parameter([shape[0], -1], np.float32, name=f"lora.b.{site.name}")
        for part in (a, b):
            part.output(0).get_tensor().set_names({part.get_friendly_name()})
        readers = list(node.output(0).get_target_inputs())
        low = ops.multiply(ops.matmul(node.input_value(0), a, False, True), mask)
        both = ops.add(node.output(0), ops.matmul(low, b, False, True))
        for reader in readers:
            reader.replace_source_output(both.output(0))
        inputs += [a, b]
        sites.append(site)
    graph.add_parameters(inputs)
    graph.validate_nodes_and_infer_types()
    return sites


def _constant(node: Any) -> Any:
    """The constant at the end of a weight's dequantisation, or None when the operand is computed."""
    here = node.input_value(1).get_node()
    for _ in range(8):
        if here.get_type_name() == "Constant":
            return here
        if not here.inputs():
            return None
        here = here.input_value(0).get_node()
    return None


def _fits(site: Site, layer: Sequence[tuple[Any, tuple[int, int]]]) -> None:
    """The layer's shapes are those of q, k, v, o, gate, up, down."""
    q, k, v, o, gate, up, down = (shape for _, shape in layer)
    hidden = q[1]
    if not (
        k == v
        and k[1] == hidden
        and o == (hidden, q[0])
        and gate == up
        and gate[1] == hidden
        and down == (hidden, gate[0])
    ):
        raise Unsupported(
            f"layer {site.layer} of this model's graph has matrices of unexpected shapes {[shape for _, shape in layer]}",
            remedy="merge the adapter into a GGUF of its own: rung tune with export: f16",
        )
