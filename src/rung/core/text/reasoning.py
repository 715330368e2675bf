"""What a model thinks aloud is no part of its answer: the forms in which models write it, and a text without it."""

from __future__ import annotations

import re

_TAGS = (
    r"(?:\w{1,12}:)?(?:deep)?think|(?:ant)?thinking|thoughts?|reasoning|reason|reflection|analysis|scratchpad|rationale|cot"
    r"|chain_of_thought|inner_monologue|internal_thoughts?"
)
_SPECIAL = r"think|thinking|thought|reasoning"
_OPENERS = (
    rf"<\s*(?:{_TAGS})(?:\s[^<>]{{0,80}})?(?<!/)>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>"
    rf"|<\|(?:{_SPECIAL})\|>|<unused94>"
)
_CLOSERS = (
    rf"<\s*/\s*(?:{_TAGS})\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>"
    rf"|<\|/(?:{_SPECIAL})\|>|<unused95>"
)
_MARK = re.compile(rf"(?P<open>{_OPENERS})|(?P<close>{_CLOSERS})", re.IGNORECASE)
_AROUND = re.compile(
    r"<\|(?:begin|end)_of_solution\|>|<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_box\|>|<\|(?:end|return|im_end)\|>"
)
"""Marks around the answer itself: the answer is what stands between them."""
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
"""OpenAI's harmony: ``<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...``."""
_CHANNEL_FINAL = re.compile(r"<\|channel\|>\s*final[^<]*<\|message\|>")
_BARE = re.compile(r"\A\s*analysis(?=[A-Z]).*?assistant\s*final(?=\S)", re.DOTALL)
"""The same with its special tokens dropped by the server."""
_GRANITE = re.compile(r"\A\s*Here is my thought process:.*?Here is my response:", re.DOTALL)
_OLLAMA = re.compile(r"\A\s*Thinking\.\.\.\n.*?\n\.\.\.done thinking\.", re.DOTALL)
_HINTS = ("<", "[THINK]", "[/THINK]", "◁", "analysis", "Here is my thought", "Thinking...")


def _behind(text: str) -> str:
    """What follows the reasoning of the forms that have it in front, each in marks of its own."""
    channels = list(_CHANNEL.finditer(text))
    if channels:
        final = [found for found in channels if found[1] == "final"]
        text = text[final[-1].end() :] if final else ""
    for whole in (_BARE, _GRANITE, _OLLAMA):
        if found := whole.match(text):
            text = text[found.end() :]
    return text


def without_reasoning(text: str, *, strict: bool = False) -> str:
    """The text without blocks of reasoning: tags such as ``<think>...</think>`` (nested ones too), harmony's channels.

    A block that is never closed goes on to the end, where its mark begins a line (``strict``: wherever the mark stands,
    for answers of a closed form). A closing mark alone closes what began in the prompt: everything before it is
    reasoning. A mark between backticks is text.
    """
    if not any(hint in text for hint in _HINTS):
        return text
    text = _behind(text)
    marks = list(_MARK.finditer(text))
    last_closer = max((mark.start() for mark in marks if mark["close"]), default=-1)
    kept: list[str] = []
    at = depth = 0
    for mark in marks:
        if text[mark.start() - 1 : mark.start()] == "`" or text[mark.end() : mark.end() + 1] == "`":
            continue
        if mark["open"]:
            if depth == 0:
                begins = not text[max(at, text.rfind("\n", 0, mark.start()) + 1) : mark.start()].strip()
                if last_closer < mark.start() and not strict and not begins:
                    continue
                kept.append(text[at : mark.start()])
            depth += 1
        elif depth:
            depth -= 1
        else:
            kept.clear()
        if depth == 0:
            at = mark.end()
    if depth == 0:
        kept.append(text[at:])
    return _AROUND.sub("", "".join(kept))


def unclosed(text: str) -> str:
    """The mark of a block of reasoning that a text begins and does not close, "" without one."""
    found, depth = "", 0
    for mark in _MARK.finditer(text):
        depth = depth + 1 if mark["open"] else max(0, depth - 1)
        found = mark[0]
    return found if depth else ""


def closed_alone(text: str) -> bool:
    """Whether a reply closes a block of reasoning that it never began: its prompt did."""
    first = _MARK.search(text)
    return first is not None and first["close"] is not None and text[first.start() - 1 : first.start()] != "`"


_HEADS = {
    "<|channel|>": _CHANNEL_FINAL,
    "analysis": _BARE,
    "Here is my thought process:": _GRANITE,
    "Thinking...\n": _OLLAMA,
}
"""How a reply begins that is reasoning as a whole until something is found in it."""


def _may_be_whole(text: str) -> bool:
    for head, end in _HEADS.items():
        if head.startswith(text):
            return True
        if text.startswith(head) and not end.search(text):
            return head != "analysis" or not text[len(head) :] or text[len(head)].isupper()
    return False


class Listener:
    """Takes a reply as it comes and gives out what is no reasoning; what may yet turn out to be some is held back.

    ``inside``: the reply begins in a block of reasoning that its prompt opened. Where that is not known, a closing mark
    without an opening one comes too late: what came before it has been given out by then, and ``late`` says so.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._inside = inside
        self._whole = ""
        self._given = ""
        self.late = False

    def feed(self, piece: str) -> str:
        """The text that can be given out after ``piece``."""
        self._whole += piece
        if self._inside and not closed_alone(self._whole):
            return ""
        text = self._whole
        # A mark that is still coming in: from the last character that can begin one.
        start = max(text.rfind("<", max(0, len(text) - 120)), text.rfind("[", max(0, len(text) - 8)), text.rfind("◁"))
        if start >= 0 and not re.search(r"[>\]▷]", text[start:]):
            text = text[:start]
        if not self._given and _may_be_whole(text.lstrip()):
            return ""
        return self._more(without_reasoning(text, strict=True))

    def close(self) -> str:
        """What was held back to the end."""
        return self._more(without_reasoning(self._whole))

    def _more(self, visible: str) -> str:
        if not visible.startswith(self._given):
            self.late = self.late or closed_alone(self._whole)
            return ""
        more = visible[len(self._given) :]
        self._given = visible
        return more
