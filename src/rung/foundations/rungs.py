"""Rungs and programs of this room, by name."""

RUNGS = {
    "rules": "rung.foundations.baselines.rules:Rules",
    "nearest": "rung.foundations.baselines.nearest:Nearest",
    "linear": "rung.foundations.baselines.linear:Linear",
}

PROGRAMS = {
    "rules": "rung.foundations.baselines.rules:RulesProgram",
    "field-rules": "rung.foundations.baselines.rules:FieldRulesProgram",
    "nearest": "rung.foundations.baselines.nearest:NearestProgram",
    "linear": "rung.foundations.baselines.linear:LinearProgram",
}
