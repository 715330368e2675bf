"""Rungs and programs of this room, by name. What they make are prompt programs over tuned weights."""

RUNGS = {
    "lora-f16": "rung.tuning.tune:LORA_F16",
    "lora-q8": "rung.tuning.tune:LORA_Q8",
    "qlora": "rung.tuning.tune:QLORA",
    "full-tuning": "rung.tuning.tune:FULL",
    "bottleneck": "rung.tuning.tune:BOTTLENECK",
    "prompt-tuning": "rung.tuning.tune:PROMPT_TUNING",
    "prefix-tuning": "rung.tuning.tune:PREFIX_TUNING",
}

PROGRAMS: dict[str, str] = {}
