"""Rungs of this room, by name. What they make are prompt programs over compressed weights."""

RUNGS = {
    "int8": "rung.compression.rung:INT8",
    "int4": "rung.compression.rung:INT4",
    "int4-plain": "rung.compression.rung:INT4_PLAIN",
    "int4-aware": "rung.compression.rung:INT4_AWARE",
    "int4-control": "rung.compression.rung:INT4_CONTROL",
    "layers": "rung.compression.rung:LAYERS",
    "heads": "rung.compression.rung:HEADS",
    "channels": "rung.compression.rung:CHANNELS",
    "unstructured": "rung.compression.rung:UNSTRUCTURED",
    "two-four": "rung.compression.rung:TWO_FOUR",
    "distillation": "rung.compression.rung:DISTILLATION",
    "answers": "rung.compression.rung:ANSWERS",
    "student": "rung.compression.rung:STUDENT",
}

PROGRAMS: dict[str, str] = {}
