"""Rungs and programs of this room, by name. What they make are prompt programs over tuned weights."""

RUNGS = {
    "lora-f16": "rung.tuning.lora:LORA_F16",
    "lora-q8": "rung.tuning.lora:LORA_Q8",
}

PROGRAMS: dict[str, str] = {}
