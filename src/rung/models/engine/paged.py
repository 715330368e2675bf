"""A language model compiled by OpenVINO over a paged key/value cache: the ``Device`` of the scheduler.

The graph comes from openvino-genai's GGUF reader; OpenVINO's own transformation replaces its attention by paged
attention (Kwon et al. 2023), so sequences of any length go through one forward pass without padding, and sequences
share cache blocks. Before it is compiled, the graph is cut so that the output projection runs only on the tokens whose
logits are wanted.

The cache keeps keys and values in the precision of the computation. OpenVINO's default, 8 bits with one scale for each
channel of a block, is requantised while a block fills up, and then logits depend on where a prompt was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.core.errors import ModelError
from rung.core.system.extras import require
from rung.core.system.machine import cores, machine
from rung.models.adapters.lora import AdapterSlots, attach
from rung.models.engine.schedule import TokenSpan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXTRA = "embedded"
WHY = "the embedded engine"
BLOCK = 32
"""Tokens in a cache block: fixed by OpenVINO's CPU plugin."""

MEMORY = 1 << 30
"""Bytes of key/value cache at least, where they are an eighth of the machine's memory at most; pages are only touched
when used."""


def version() -> str:
    """The engine's version, part of a model's fingerprint."""
    return str(require("openvino", EXTRA, WHY).__version__)


class Paged:
    """The compiled model and its cache of at least ``tokens`` tokens. ``threads`` 0: all cores. ``slots``: adapters
    that may compute beside it.

    ``precision`` "f32" gives the same log-probabilities on every processor, alone and in a batch. "bf16" computes and
    caches in 16-bit brain floats; there a token that is decoded by itself may differ from the same token in a prompt by
    0.1, but neither depends on what is computed beside it.
    Activations are never quantised to 8 bits, as OpenVINO does by default: that costs twice the error of the 8-bit
    weights.
    """

    def __init__(
        self, xml: Path, *, threads: int, tokens: int, slots: AdapterSlots | None = None, precision: str = "f32"
    ) -> None:
        import numpy as np

        ov = require("openvino", EXTRA, WHY)
        self._ov = ov
        core = ov.Core()
        graph = core.read_model(str(xml))
        if machine().cores == 1:
            _check_weights(graph)
        elif precision == "bf16":
            _expand(graph)
        _page(graph)
        self._slots, self._shown = slots, -1
        self._sites = attach(graph) if slots is not None else []
        self._spans: list[tuple[int, int]] = []
        self.precision = precision
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "KV_CACHE_PRECISION": precision,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(graph, "CPU", options)
        del graph
        caches = [(p, p.partial_shape) for p in compiled.inputs if "_cache." in p.any_name]
        size = sum(p.element_type.size * int(np.prod([d.get_length() for d in list(s)[1:]])) for p, s in caches)
        if not caches or any(list(s)[2].get_length() != BLOCK for p, s in caches if "value" in p.any_name):
            raise ModelError("OpenVINO compiled another cache layout than 32 tokens a block, which this version needs")
        self._blocks: int = max(-(-tokens // BLOCK) + 2, min(MEMORY, (machine().memory or 8 * MEMORY) // 8) // size)
        self._request = compiled.create_infer_request()
        self._views: list[NDArray[Any]] = []
        self._keep: list[Any] = [compiled]
        for port, shape in caches:
            shape[0] = self._blocks
            tensor = ov.Tensor(port.element_type, shape.to_shape())
            self._request.set_tensor(port, tensor)
            self._keep.append(tensor)
            bits = np.frombuffer(tensor.data, np.uint8) if tensor.data.flags.c_contiguous else None
            if bits is None:
                raise ModelError("OpenVINO gave a cache that is not contiguous")
            self._views.append(bits.reshape(self._blocks, -1))
        self._ports = {p.any_name: p for p in compiled.inputs if "_cache." not in p.any_name}
        self._cores = max(cores(), int(compiled.get_property("INFERENCE_NUM_THREADS")))

    @property
    def block(self) -> int:
        return BLOCK

    @property
    def blocks(self) -> int:
        return self._blocks - 1  # the last one is scratch

    def copy(self, source: int, target: int) -> None:
        for view in self._views:
            view[target] = view[source]

    def forward(self, spans: Sequence[TokenSpan]) -> NDArray[np.float32]:
        """Logits, shape (wanted spans, vocabulary). The array is the engine's own: it changes with the next call."""
        import numpy as np

        wanted = sum(s.wanted for s in spans)
        if len(spans) < self._cores and all(len(s.tokens) == 1 for s in spans):
            # With fewer single tokens than threads the plugin splits one sequence over threads and rounds differently:
            # a short scratch prompt keeps it on the path that every larger batch takes.
            spans = [*spans, TokenSpan((0, 0), 0, (self._blocks - 1,), wanted=False)]
        ends = np.cumsum([0, *(len(s.tokens) for s in spans)], dtype=np.int32)
        tables = np.cumsum([0, *(len(s.blocks) for s in spans)], dtype=np.int32)
        rows = [int(end) - 1 for s, end in zip(spans, ends[1:], strict=True) if s.wanted]
        inputs = {
            "input_ids": np.fromiter((t for s in spans for t in s.tokens), np.int64, int(ends[-1])),
            "position_ids": np.concatenate([np.arange(s.past, s.past + len(s.tokens)) for s in spans]).astype(np.int64),
            "past_lens": np.asarray([s.past for s in spans], np.int32),
            "subsequence_begins": ends,
            "block_indices": np.fromiter((b for s in spans for b in s.blocks), np.int32, int(tables[-1])),
            "block_indices_begins": tables,
            "max_context_len": np.asarray(max(s.past + len(s.tokens) for s in spans), np.int32),
            "rows": np.asarray(rows or [0], np.int64),
        }
        if self._slots is not None:
            inputs["lora.mask"] = self._mask(spans)
        for name, value in inputs.items():
            self._request.set_tensor(self._ports[name], self._ov.Tensor(value))
        self._request.infer()
        logits: NDArray[np.float32] = self._request.get_output_tensor(0).data
        return logits.reshape(-1, logits.shape[-1])[:wanted]

    def _mask(self, spans: Sequence[TokenSpan]) -> NDArray[np.float32]:
        """Which ranks each token is let through, shape (tokens, 1, ranks); takes up adapters that came since."""
        import numpy as np

        assert self._slots is not None
        if self._shown != self._slots.version:
            self._shown, self._spans = self._slots.version, self._slots.spans()
            self._matrices: list[Any] = []
            for site in self._sites:
                for letter, value in zip(
                    "ab", self._slots.matrices((site.layer, site.module), site.shape), strict=True
                ):
                    tensor = self._ov.Tensor(value)
                    self._request.set_tensor(self._ports[f"lora.{letter}.{site.name}"], tensor)
                    self._matrices += [value, tensor]
        mask = np.zeros((sum(len(s.tokens) for s in spans), 1, self._spans[-1][1] if self._spans else 1), np.float32)
        at = 0
        for span in spans:
            if span.adapter:
                low, high = self._spans[span.adapter - 1]
                mask[at : at + len(span.tokens), :, low:high] = 1.0
            at += len(span.tokens)
        return mask


def _expand(graph: Any) -> None:
    """Weights as floats instead of 8-bit integers with scales. Bfloat16 kernels for integer weights spend more on small
    batches than on reading twice the bytes, and round differently by the number of rows."""
    passes = require("openvino.passes", EXTRA, WHY)
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(graph)


def _check_weights(graph: Any) -> None:
    """OpenVINO 2026.4 divides by zero, which ends the process, when it repacks float weights for a single core. Raises
    ModelError for them; 8-bit ones are fine."""
    for node in graph.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        source = node.input_value(1).get_node()
        while source.get_type_name() in ("Convert", "Reshape", "Multiply", "Subtract"):
            source = source.input_value(0).get_node()
        if source.get_type_name() == "Constant" and source.get_element_type().is_real():
            raise ModelError(
                "OpenVINO cannot compute weights of 16 or 32 bits on one core, and this process may use one",
                remedy="give it a second core, or a file with 8-bit weights: export: q8",
            )


def _page(graph: Any) -> None:
    """Paged attention, and the output projection only on the tokens listed in the new input ``rows``."""
    import numpy as np

    transform = require("openvino._offline_transformations", EXTRA, WHY).paged_attention_transformation
    ops = require("openvino.opset13", EXTRA, WHY)
    transform(graph)
    node = graph.get_results()[0].input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    rows = ops.parameter([-1], np.int64, name="rows")
    rows.output(0).get_tensor().set_names({"rows"})
    picked = ops.gather(node.input_value(0), rows, ops.constant(np.int64(0)))
    node.input(0).replace_source_output(picked.output(0))
    graph.add_parameters([rows])
    graph.validate_nodes_and_infer_types()
