"""Metrics, one file a family, and the statistics over their scores (``stats``, ``sequential``, ``choice``)."""

from __future__ import annotations

from rung.core.errors import InputError
from rung.core.parts import registry
from rung.core.protocols import Metric, Resources


def load_metric(spec: str, resources: Resources) -> Metric:
    """The metric that ``spec`` names: ``accuracy``, ``rouge-l``, ``judge:helpfulness``, ``schema-valid:FILE``.

    What follows the first colon is the metric's argument. Raises InputError for an unknown name or an unwanted
    argument.
    """
    name, colon, argument = spec.strip().partition(":")
    thing = registry.load("metric", name)
    if isinstance(thing, Metric) and not isinstance(thing, type):
        if colon:
            raise InputError(f"metric {name!r} takes no argument, got {argument!r}", remedy=f"write: {name}")
        return thing
    metric = thing(argument, resources)
    if not isinstance(metric, Metric):
        raise InputError(
            f"metric {name!r}: expected a Metric, got {type(metric).__name__}", remedy="correct the entry point"
        )
    return metric
