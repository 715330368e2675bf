"""Rungs and programs of this room, by name."""

RUNGS = {"guarded": "rung.safety.guard:Guarded"}
PROGRAMS = {"guarded": "rung.safety.guard:GuardedProgram"}
