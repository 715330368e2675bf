"""The metadata at the head of a GGUF file (format: github.com/ggml-org/ggml docs/gguf.md, versions 2 and 3).

Read here because the ``gguf`` package reads the vocabulary item by item, which takes seconds, and trusts what the file
says.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Field:
    """A value of the header and its type (GGUFValueType), for an array also that of its items."""

    value: Any
    kind: int
    inner: int | None = None


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a file: ``shape`` as the file has it (the fastest dimension first), its type, and where its bytes
    lie."""

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


MOST = 1 << 24
"""Items of a header's array at most: many times the largest vocabulary."""

_SIZES = {
    **{0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40)},
    **{10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292)},
    **{24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2)},
}
"""Values in a block and bytes of it, by tensor type (ggml.h: F32, F16, Q4_0, ..., BF16); those with no entry are not
measured."""


_NUMBERS = {0: np.float32, 1: np.float16, 24: np.int8, 25: np.int16, 26: np.int32, 27: np.int64, 28: np.float64}


def read(path: Path) -> Header:
    """Read a file's header. Raises InputError when it is not a whole GGUF file with a tokenizer: also when a tensor
    would lie beyond its end, where the native readers crash."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            fields, tensors, at = _fields(data)
            _tensors(data, tensors, at, _alignment(fields))
            return _header({key: field.value for key, field in fields.items()})
    except (OSError, LookupError, ValueError, TypeError, ArithmeticError, RecursionError, struct.error) as error:
        raise InputError(
            f"not a readable GGUF model: {type(error).__name__} {error}",
            remedy="expected a whole .gguf file; fetch it again: rung models pull smollm2-135m",
            file=path,
        ) from None


def layout(path: Path) -> tuple[dict[str, Field], list[StoredTensor]]:
    """All fields and tensors of a file that ``read`` accepts. The ``gguf`` package's own reader takes six seconds for
    them."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        fields, count, at = _fields(data)
        return fields, _tensors(data, count, at, _alignment(fields))


def copy_fields(fields: Mapping[str, Field], writer: Any, skipped: Collection[str]) -> None:
    """Give a GGUFWriter the fields of another file, but for ``skipped`` and the architecture, which is the writer's
    own."""
    kinds = require("gguf", "embedded", "writing a GGUF file").GGUFValueType
    for key, field in fields.items():
        if key not in skipped and key != "general.architecture":
            inner = None if field.inner is None else kinds(field.inner)
            writer.add_key_value(key, field.value, kinds(field.kind), inner)


def _alignment(fields: Mapping[str, Field]) -> Any:
    return fields["general.alignment"].value if "general.alignment" in fields else 32


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


def _fields(data: mmap.mmap) -> tuple[dict[str, Field], int, int]:
    """The header's fields, the number of tensors, and where their descriptions begin."""
    if data[:4] != b"GGUF":
        raise ValueError(f"it starts with {data[:4]!r}, not GGUF")
    version, tensors, count = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version}, expected 2 or 3")
    at = 24
    out: dict[str, Field] = {}
    for _ in range(count):
        key, at = _string(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        inner = struct.unpack_from("<I", data, at + 4)[0] if kind == _ARRAY else None
        value, at = _value(data, at + 4, kind)
        out[key] = Field(value, kind, inner)
    return out, tensors, at


def _tensors(data: mmap.mmap, count: int, at: int, alignment: int) -> list[StoredTensor]:
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
        block, size = _SIZES.get(kind, (1, 0))
        found.append(StoredTensor(name, shape, kind, offset, -(-math.prod(shape) // block) * size))
    if alignment < 1:
        raise ValueError(f"an alignment of {alignment}")
    start = -(-at // alignment) * alignment
    out = [replace(tensor, start=start + tensor.start) for tensor in found]
    for tensor in out:
        end = tensor.start + tensor.size
        if end > len(data):
            raise ValueError(
                f"tensor {tensor.name!r} ends at byte {end:,}, the file has {len(data):,}: it is cut off or damaged"
            )
    return out


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
    """Write ``source`` to ``target`` with every tensor of OFFSET_KINDS as Q8_0; False (and nothing written) without
    any.

    openvino-genai 2026.4 rounds such an offset to a whole zero point, which changes what the model says: the
    log-probability of one and the same token was -0.9 there, -1.97 in llama.cpp and -1.88 in fp32. Q8_0 has no offset
    and comes out right.
    """
    fields, tensors = layout(source)
    gguf = require("gguf", "embedded", "reading this GGUF file's quantization")
    kinds = gguf.GGMLQuantizationType
    offset = {kinds[name].value for name in OFFSET_KINDS}
    if not any(tensor.kind in offset for tensor in tensors):
        return False
    writer = gguf.GGUFWriter(target, fields["general.architecture"].value)
    copy_fields(fields, writer, ("general.file_type",))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    whole = np.memmap(source, np.uint8, "r")
    for tensor in tensors:
        data, kind = stored(whole, tensor), kinds(tensor.kind)
        if tensor.kind in offset:
            data, kind = gguf.quants.quantize(gguf.quants.dequantize(data, kind), kinds.Q8_0), kinds.Q8_0
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    finish(writer)
    return True


def finish(writer: Any) -> None:
    """Write all that a GGUFWriter was given, and close its file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def stored(whole: NDArray[np.uint8], tensor: StoredTensor) -> NDArray[Any]:
    """A tensor's values as GGUFWriter takes them: plain numbers in its shape, or the bytes of its blocks by rows."""
    rows = tensor.shape[:0:-1]
    data = whole[tensor.start : tensor.start + tensor.size]
    return (
        data.view(_NUMBERS[tensor.kind]).reshape(tensor.shape[::-1])
        if tensor.kind in _NUMBERS
        else data.reshape(*rows, -1)
    )
