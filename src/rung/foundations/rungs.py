"""Rungs and programs of this room, by name."""

RUNGS = {
    "rules": "rung.foundations.rules:Rules",
    "nearest": "rung.foundations.nearest:Nearest",
    "linear": "rung.foundations.linear:Linear",
}

PROGRAMS = {
    "rules": "rung.foundations.rules:RulesProgram",
    "field-rules": "rung.foundations.rules:FieldRulesProgram",
    "nearest": "rung.foundations.nearest:NearestProgram",
    "linear": "rung.foundations.linear:LinearProgram",
}
