"""The metadata at the head of a GGUF file (format: github.com/ggml-org/ggml docs/gguf.md, versions 2 and 3).

Read here because the ``gguf`` package reads the vocabulary item by item, which takes seconds, and trusts what the file says.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.core.errors import InputError
from rung.core.system.extras import require

_PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
CONTROL = 3
"""Token type of special tokens."""
OFFSET_KINDS = frozenset({"Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"})
"""Quantizations whose blocks carry an offset as a floating-point number."""


@dataclass(frozen=True)
class Header:
    """What the engine needs: the architecture, the context window in tokens, the chat template, the special tokens by
    their text, and the ids of the vocabulary's end tokens."""

    architecture: str
    context: int
    template: str
    vocabulary: int
    control: dict[str, int]
    eos: int
    bos: int | None
    add_bos: bool


MOST = 1 << 24
"""Items of a header's array at most: many times the largest vocabulary."""

_SIZES = {
    **{0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40)},
    **{10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292)},
    **{24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2)},
}
"""Values in a block and bytes of it, by tensor type (ggml.h: F32, F16, Q4_0, ..., BF16); those with no entry are not measured."""


def read(path: Path) -> Header:
    """Read a file's header. Raises InputError when it is not a whole GGUF file with a tokenizer: also when a tensor would lie
    beyond its end, where the native readers crash."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            fields, tensors, at = _fields(data)
            _check_tensors(data, tensors, at, fields.get("general.alignment", 32))
            return _header(fields)
    except (OSError, LookupError, ValueError, TypeError, ArithmeticError, RecursionError, struct.error) as error:
        raise InputError(
            f"not a readable GGUF model: {type(error).__name__} {error}",
            remedy="expected a whole .gguf file; fetch it again: rung models pull smollm2-135m",
            file=path,
        ) from None


def _header(fields: dict[str, Any]) -> Header:
    tokens = fields["tokenizer.ggml.tokens"]
    kinds = fields.get("tokenizer.ggml.token_type", [])
    architecture, template = fields["general.architecture"], fields.get("tokenizer.chat_template", "")
    if not all(isinstance(value, str) for value in (architecture, template, *tokens)):
        raise ValueError("a name, the chat template or a token is no text")
    header = Header(
        architecture=architecture,
        context=int(fields[f"{architecture}.context_length"]),
        template=template,
        vocabulary=len(tokens),
        control={t: i for i, (t, kind) in enumerate(zip(tokens, kinds, strict=False)) if kind == CONTROL},
        eos=int(fields["tokenizer.ggml.eos_token_id"]),
        bos=None if (bos := fields.get("tokenizer.ggml.bos_token_id")) is None else int(bos),
        add_bos=bool(fields.get("tokenizer.ggml.add_bos_token", False)),
    )
    if header.context < 1 or not 0 <= header.eos < len(tokens) or not 0 <= (header.bos or 0) < len(tokens):
        raise ValueError(f"a context of {header.context} tokens, and end token {header.eos} of {len(tokens)}")
    _check_sizes({name: fields.get(f"{architecture}.{name}") for name in (*_COUNTS, *_REALS)})
    return header


_COUNTS = (
    "block_count", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
    "attention.key_length", "attention.value_length", "rope.dimension_count", "vocab_size",
)  # fmt: skip
_REALS = ("attention.layer_norm_rms_epsilon", "rope.freq_base")


def _check_sizes(sizes: dict[str, Any]) -> None:
    """Raises ValueError for sizes that the native readers divide by, or make room for, without a look."""
    for name, value in sizes.items():
        for one in value if isinstance(value, list) else [value]:
            whole = isinstance(one, int) and not isinstance(one, bool) and 1 <= one < MOST
            real = isinstance(one, int | float) and math.isfinite(one) and one > 0
            if one is not None and not (real if name in _REALS else whole):
                raise ValueError(f"{name} is {one!r}")
    width, heads, shared = (
        sizes[name] for name in ("embedding_length", "attention.head_count", "attention.head_count_kv")
    )
    if isinstance(width, int) and isinstance(heads, int) and width % heads and sizes["attention.key_length"] is None:
        raise ValueError(f"{heads} heads do not share {width} dimensions")
    if isinstance(heads, int) and isinstance(shared, int) and heads % shared:
        raise ValueError(f"{heads} heads do not share {shared} keys")


def _fields(data: mmap.mmap) -> tuple[dict[str, Any], int, int]:
    """The header's fields, the number of tensors, and where their descriptions begin."""
    if data[:4] != b"GGUF":
        raise ValueError(f"it starts with {data[:4]!r}, not GGUF")
    version, tensors, count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version}, expected 2 or 3")
    at = 24
    out: dict[str, Any] = {}
    for _ in range(count):
        key, at = _string(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        out[key], at = _value(data, at + 4, kind)
    return out, tensors, at


def _check_tensors(data: mmap.mmap, count: int, at: int, alignment: int) -> None:
    """Raises ValueError when a tensor does not lie inside the file."""
    found = []
    for _ in range(count):
        name, at = _string(data, at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        if not 1 <= dimensions <= 8:
            raise ValueError(f"tensor {name!r} has {dimensions} dimensions")
        shape = struct.unpack_from(f"<{dimensions}Q", data, at + 4)
        if not 1 <= math.prod(shape) < 1 << 48:
            raise ValueError(f"tensor {name!r} has the shape {shape}")
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * dimensions)
        at += 16 + 8 * dimensions
        found.append((name, math.prod(shape), kind, offset))
    if alignment < 1:
        raise ValueError(f"an alignment of {alignment}")
    start = -(-at // alignment) * alignment
    for name, values, kind, offset in found:
        block, size = _SIZES.get(kind, (1, 0))
        end = start + offset + -(-values // block) * size
        if end > len(data):
            raise ValueError(
                f"tensor {name!r} ends at byte {end:,}, the file has {len(data):,}: it is cut off or damaged"
            )


def _string(data: mmap.mmap, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<Q", data, at)
    at += 8
    if at + size > len(data):
        raise ValueError("the file ends inside its header")
    return data[at : at + size].decode("utf-8", "replace"), at + size


def _value(data: mmap.mmap, at: int, kind: int) -> tuple[Any, int]:
    if kind == _STRING:
        return _string(data, at)
    if kind == _ARRAY:
        inner, size = struct.unpack_from("<IQ", data, at)
        at += 12
        if size > MOST:
            raise ValueError(f"an array of {size:,} items")
        if inner in _PLAIN:
            form = f"<{size}{_PLAIN[inner]}"
            return list(struct.unpack_from(form, data, at)), at + struct.calcsize(form)
        items = []
        for _ in range(size):
            item, at = _value(data, at, inner)
            items.append(item)
        return items, at
    form = f"<{_PLAIN[kind]}"
    return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)


def recode(source: Path, target: Path) -> bool:
    """Write ``source`` to ``target`` with every tensor of OFFSET_KINDS as Q8_0; False (and nothing written) without any.

    openvino-genai 2026.4 rounds such an offset to a whole zero point, which changes what the model says: the log-probability
    of one and the same token was -0.9 there, -1.97 in llama.cpp and -1.88 in fp32. Q8_0 has no offset and comes out right.
    """
    gguf = require("gguf", "embedded", "reading this GGUF file's quantization")
    reader = gguf.GGUFReader(source)
    kinds = gguf.GGMLQuantizationType
    if not any(tensor.tensor_type.name in OFFSET_KINDS for tensor in reader.tensors):
        return False
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for key, item in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        kind = item.types[0]
        inner = item.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(key, item.contents(), kind, inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        if tensor.tensor_type.name in OFFSET_KINDS:
            plain = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, gguf.quants.quantize(plain, kinds.Q8_0), raw_dtype=kinds.Q8_0)
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return True
