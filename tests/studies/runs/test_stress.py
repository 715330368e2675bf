from __future__ import annotations

import numpy as np
import pytest

from rung.core.errors import InputError
from rung.core.types import Example
from rung.studies.runs import stress


def test_perturbations_are_steady_and_named() -> None:
    examples = [Example("e", {"text": "Where is my parcel from Monday?"}, "x")]
    for kind in stress.KINDS:
        (one,), (two,) = (stress.perturb(examples, "text", kind) for _ in range(2))
        assert one == two
        assert one.id == f"e+{kind}"
        assert one.reference == "x"
        assert one.input["text"] != examples[0].input["text"]
    text = "the quick brown fox jumps over the lazy dog " * 20
    changed = stress.typos(text, np.random.default_rng(1))
    assert 0.02 < 1 - sum(a == b for a, b in zip(text.split(), changed.split(), strict=False)) / len(text.split()) < 0.9
    with pytest.raises(InputError, match="unknown change"):
        stress.perturb(examples, "text", "upside down")
    with pytest.raises(InputError, match="no field"):
        stress.perturb(examples, "body", "typos")
