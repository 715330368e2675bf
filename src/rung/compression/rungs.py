"""Rungs of this room, by name. What they make are prompt programs over compressed weights."""

METHODS = (
    "int8", "int4", "int4-plain", "int4-aware", "int4-control", "layers", "heads", "channels", "unstructured", "two-four",
    "distillation", "answers", "student",
)  # fmt: skip
"""Each has its plan in ``job.PLANS``."""

RUNGS = {name: f"rung.compression.rung:{name.replace('-', '_')}" for name in METHODS}

PROGRAMS: dict[str, str] = {}
