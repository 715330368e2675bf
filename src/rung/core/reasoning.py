"""What a model thinks aloud is no part of its answer: the forms in which models write it, and a text without it."""

from __future__ import annotations

import re

_TAGS = r"think|thinking|thought|thoughts|reasoning|reason|reflection|analysis|scratchpad|inner_monologue|seed:think"
_OPENERS = rf"<\s*(?:{_TAGS})(?:\s[^<>]{{0,80}})?>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>"
_CLOSERS = rf"<\s*/\s*(?:{_TAGS})\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>"
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
_HINTS = ("<", "[THINK]", "[/THINK]", "◁", "analysis", "Here is my thought")


def without_reasoning(text: str, *, strict: bool = False) -> str:
    """The text without blocks of reasoning: tags such as ``<think>...</think>`` (nested ones too), harmony's channels.

    A block that is never closed goes on to the end, where its mark begins a line (``strict``: wherever the mark stands, for
    answers of a closed form). A closing mark alone closes what began in the prompt: everything before it is reasoning. A mark
    between backticks is text.
    """
    if not any(hint in text for hint in _HINTS):
        return text
    channels = list(_CHANNEL.finditer(text))
    if channels:
        final = [found for found in channels if found[1] == "final"]
        text = text[final[-1].end() :] if final else ""
    for whole in (_BARE, _GRANITE):
        if found := whole.match(text):
            text = text[found.end() :]
    marks = list(_MARK.finditer(text))
    last_closer = max((mark.start() for mark in marks if mark["close"]), default=-1)
    kept: list[str] = []
    at = depth = 0
    for mark in marks:
        if text[mark.start() - 1 : mark.start()] == "`" or text[mark.end() : mark.end() + 1] == "`":
            continue
        if mark["open"]:
            if depth == 0:
                if last_closer < mark.start() and not strict and not _begins_line(text, mark.start()):
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


def _begins_line(text: str, at: int) -> bool:
    return not text[text.rfind("\n", 0, at) + 1 : at].strip()


_HEADS = {"<|channel|>": _CHANNEL_FINAL, "analysis": _BARE, "Here is my thought process:": _GRANITE}
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

    A closing mark without an opening one cannot be known in time: what came before it has been given out by then.
    """

    def __init__(self) -> None:
        self._whole = ""
        self._given = ""

    def feed(self, piece: str) -> str:
        """The text that can be given out after ``piece``."""
        self._whole += piece
        text = self._whole
        # A mark that is still coming in: from the last character that can begin one.
        start = max(text.rfind("<", max(0, len(text) - 120)), text.rfind("[", max(0, len(text) - 8)), text.rfind("◁"))
        if start >= 0 and not re.search(r"[>\]▷]", text[start:]):
            text = text[:start]
        if not self._given and _may_be_whole(text.lstrip()):
            return ""
        return self._more(without_reasoning(text))

    def close(self) -> str:
        """What was held back to the end."""
        return self._more(without_reasoning(self._whole))

    def _more(self, visible: str) -> str:
        if not visible.startswith(self._given):
            return ""
        more = visible[len(self._given) :]
        self._given = visible
        return more
