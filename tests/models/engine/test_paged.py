"""The compiled model: what one core cannot compute, and which precision a processor gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rung.core.errors import InputError, ModelError, Unsupported
from rung.core.system.machine import machine
from rung.models.engine.openvino.engine import choose_precision
from rung.models.engine.paged import _check_weights, _expand

ov = pytest.importorskip("openvino")


def graph(weight: Any) -> Any:
    import openvino.opset13 as ops

    x = ops.parameter([-1, 4], np.float32)
    return ov.Model([ops.matmul(x, weight, False, True)], [x], "one")


def integers() -> Any:
    import openvino.opset13 as ops

    whole = ops.convert(ops.constant(np.arange(8, dtype=np.uint8).reshape(2, 4)), "f16")
    scaled = ops.multiply(ops.subtract(whole, np.float16(3)), np.float16(0.5))
    return ops.convert(scaled, "f32")


def test_float_weights_are_refused_on_one_core_before_they_end_the_process() -> None:
    _check_weights(graph(integers()))
    with pytest.raises(ModelError, match="second core"):
        _check_weights(graph(np.ones((2, 4), np.float32)))


def test_expanded_weights_are_the_same_numbers_as_floats() -> None:
    model = graph(integers())
    x = np.array([[1, 2, 3, 4], [0, -1, 0.5, 2]], np.float32)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    before = np.array(compiled(x)[0])
    _expand(model)
    kinds = {str(node.get_element_type()) for node in model.get_ops() if node.get_type_name() == "Constant"}
    assert kinds == {"<Type: 'float32'>"}
    after = np.array(ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0])
    assert np.array_equal(before, after)


def test_precision_follows_the_processor() -> None:
    here = replace(machine(), architecture="x86_64", cores=2, features=("avx2", "avx512f", "avx512_bf16", "amx_bf16"))
    assert choose_precision("auto", here) == "bf16"
    assert choose_precision("auto", replace(here, cores=1)) == "f32"
    assert choose_precision("auto", replace(here, features=("avx2", "avx512f", "avx512_bf16"))) == "f32"
    assert choose_precision("f32", here) == "f32"
    with pytest.raises(Unsupported, match="emulate"):
        choose_precision("bf16", replace(here, features=("avx2",)))
    with pytest.raises(InputError, match="expected auto"):
        choose_precision("int8", here)
