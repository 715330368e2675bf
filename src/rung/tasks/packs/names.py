"""The built-in packs by name. What stands there is the path of a task file; other people's packs come by entry
points."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent

SUPPORT_INTENT = _FOLDER / "support-intent" / "task.yaml"
SUPPORT_EXTRACT = _FOLDER / "support-extract" / "task.yaml"
STDLIB_QA = _FOLDER / "stdlib-qa" / "task.yaml"
STDLIB_FIM = _FOLDER / "stdlib-fim" / "task.yaml"
SUPPORT_REPLY = _FOLDER / "support-reply" / "task.yaml"
PLAIN_REQUESTS = _FOLDER / "plain-requests" / "task.yaml"
CLINIC_QA = _FOLDER / "clinic-qa" / "task.yaml"
LICENCE_CLAUSES = _FOLDER / "licence-clauses" / "task.yaml"

PACKS: dict[str, str] = {
    "support-intent": "rung.tasks.packs.names:SUPPORT_INTENT",
    "support-extract": "rung.tasks.packs.names:SUPPORT_EXTRACT",
    "stdlib-qa": "rung.tasks.packs.names:STDLIB_QA",
    "stdlib-fim": "rung.tasks.packs.names:STDLIB_FIM",
    "support-reply": "rung.tasks.packs.names:SUPPORT_REPLY",
    "plain-requests": "rung.tasks.packs.names:PLAIN_REQUESTS",
    "clinic-qa": "rung.tasks.packs.names:CLINIC_QA",
    "licence-clauses": "rung.tasks.packs.names:LICENCE_CLAUSES",
}
