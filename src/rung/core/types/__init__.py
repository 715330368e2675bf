"""Typed records that pass between the rooms. All are frozen; JSON forms come from ``encode``/``decode`` in core.codec."""

from __future__ import annotations

from rung.core.types.answers import Answer, Case, Failure, Interval, Loss, Progress, Result, Score, Step, Training
from rung.core.types.documents import Document, Hit, Passage, Span
from rung.core.types.messages import (
    Capabilities,
    Chunk,
    Finish,
    Message,
    Reply,
    Request,
    ResponseFormat,
    Role,
    Sampling,
    ScoreRequest,
    Scores,
    ToolCall,
    ToolSpec,
    Usage,
)
from rung.core.types.tasks import Budget, Example, Guard, Input, RungChoice, Split, Task, as_input, text_of

__all__ = [
    "Answer",
    "Budget",
    "Capabilities",
    "Case",
    "Chunk",
    "Document",
    "Example",
    "Failure",
    "Finish",
    "Guard",
    "Hit",
    "Input",
    "Interval",
    "Loss",
    "Message",
    "Passage",
    "Progress",
    "Reply",
    "Request",
    "ResponseFormat",
    "Result",
    "Role",
    "RungChoice",
    "Sampling",
    "Score",
    "ScoreRequest",
    "Scores",
    "Span",
    "Split",
    "Step",
    "Task",
    "ToolCall",
    "ToolSpec",
    "Training",
    "Usage",
    "as_input",
    "text_of",
]
