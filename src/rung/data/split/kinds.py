"""What an instruction asks for, told from its words: enough to see whether a set of instructions is one-sided."""

from __future__ import annotations

import re

KINDS: tuple[tuple[str, str], ...] = (
    ("translate", r"\btranslat(?:e|ion)\b|\b(?:into|to) (?:french|german|spanish|english|italian|chinese|japanese)\b"),
    ("summarize", r"\bsummar(?:y|i[sz]e|ies)\b|\btl;?dr\b|\bshorten\b|\bkey points\b|\bmain (?:idea|point)s?\b"),
    ("classify", r"\bclassif(?:y|ication)\b|\bcategor(?:y|i[sz]e)\b|\bsentiment\b|\bwhich of the\b|\btrue or false\b"
     r"|\byes or no\b|\bis (?:it|this|the following)\b"
     r"|\b(?:detect|determine|decide|identify) (?:if|whether|the (?:sentiment|category|type|label|topic))\b|\blabel\b"),
    ("extract", r"\bextract\b|\bfind all\b|\bidentify (?:the|all)\b|\bfrom the (?:text|passage|article|paragraph|table)\b|\bpull out\b"),
    ("code", r"\b(?:python|javascript|java|sql|regex|html|css|bash|c\+\+)\b"
     r"|\b(?:write|implement|debug|fix) (?:a|the|this|some)?\s*(?:function|program|code|script|class|query)\b|```"),
    ("calculate", r"\bcalculat|\bcompute\b|\bsolve\b|\bhow (?:many|much)\b.*\d|\bsum of\b|\bequation\b|\d\s*[-+*/×÷]\s*\d"),
    ("rewrite", r"\b(?:re-?write|rephrase|paraphrase|edit|improve|correct|proofread|convert|reword|polish|simplif(?:y|ied)|change)\b"),
    ("list", r"^\W*(?:list|name|give (?:me )?(?:\w+ ){0,2}(?:examples|ideas|tips|reasons|ways))\b"
     r"|\b(?:brainstorm|suggest|recommend|come up with)\b|\bwhat are (?:some|the (?:top|best|\d+))\b"),
    ("write", r"\b(?:write|compose|draft|create|generate|make up|tell me a (?:story|joke)|design|produce)\b"),
    ("explain", r"^\W*(?:explain|describe|discuss|compare|define|tell me|teach)\b|\bwhat is the (?:difference|meaning)\b|\bhow do(?:es)?\b|\bhow to\b|\bwhy\b"),
    ("question", r"\?\s*$|^\W*(?:who|what|when|where|which|whose|whom|how|is|are|was|were|do|does|did|can|could|should|would|will|has|have)\b"),
)  # fmt: skip
"""In order: the first that fits is it."""

_RULES = [(name, re.compile(rule, re.IGNORECASE | re.DOTALL | re.MULTILINE)) for name, rule in KINDS]
_FRAME = re.compile(
    r"#+ ?Instruction:?[ \t]*\n(.*?)(?=\n#+ ?(?:Input|Context|Response)\b|\Z)", re.IGNORECASE | re.DOTALL
)
"""Alpaca's frame ("Below is an instruction that describes a task. Write a response ..."): its own words say nothing."""
_LONG = 300


def kind(text: str) -> str:
    """The kind of an instruction, from its first sentences; "other" where no rule fits."""
    framed = _FRAME.search(text)
    head = (framed[1] if framed is not None else text).strip()
    if len(head) > _LONG:  # the instruction is at one end of a long input
        head = f"{head[:_LONG]}\n{head[-100:]}"
    return next((name for name, rule in _RULES if rule.search(head)), "other")
