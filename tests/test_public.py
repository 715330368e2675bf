"""Names that scripts outside of this project call: a move of their modules would break them without a test of ours failing."""

from __future__ import annotations

from importlib import import_module

import pytest

NAMES = (
    "rung:climb",
    "rung.cli.main:main",
    "rung.core.settings:Settings",
    "rung.core.types:Case",
    "rung.data.read:read",
    "rung.documents:read",
    "rung.documents:scan",
    "rung.metrics.labels:MACRO_F1",
    "rung.metrics.stats:interval",
    "rung.retrieval.chunk:chunker",
    "rung.tuning.batches:Chat",
    "rung.tuning.weights:find_base",
)


@pytest.mark.parametrize("name", NAMES)
def test_it_stands_where_others_know_it(name: str) -> None:
    module, _, attribute = name.partition(":")
    assert hasattr(import_module(module), attribute)
