"""Letters between agents: each comes once to each box that it is for, those of one sender in the order in which they
were sent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

Late = Literal["none", "last", "all"]
"""What somebody who subscribes to a topic late is given of what was said before."""


class Letter(NamedTuple):
    """A letter in a box. ``key`` is the sender's own name for it: a second one with the same key never comes into the
    same box. ``at`` is in Unix seconds, ``topic`` what it was published under."""

    id: int
    box: str
    sender: str
    topic: str
    key: str
    text: str
    at: float


class Mail(Protocol):
    """Boxes by name. Sending is durable when it returns; a letter is read when the events of who read it are in the
    trail (``Trail.append`` with ``letters``), in one transaction: so a reader that dies reads it again, and one that
    does not, never."""

    def send(self, box: str, sender: str, key: str, text: str) -> bool:
        """Put a letter into a box; False: one with that key is there, or was."""
        ...

    def publish(self, topic: str, sender: str, key: str, text: str) -> int:
        """Put a letter into the box of every subscriber; how many got it (0 also where it was published before)."""
        ...

    def subscribe(self, topic: str, box: str, late: Late = "none") -> int:
        """From now on the box gets what is published under the topic; how many earlier letters it is given. A second
        time changes nothing."""
        ...

    def unread(self, box: str, limit: int = 100) -> list[Letter]:
        """The oldest letters that nobody has read."""
        ...

    def take(self, box: str) -> Letter | None:
        """The oldest letter that no living process holds; it is held by this one until ``finish``, or until it dies."""
        ...

    def finish(self, letter: Letter, reply: str) -> bool:
        """A letter that was taken is read, and the reply is in its sender's box, both or neither. False: it was
        withdrawn, or is another's by now; then nothing is sent."""
        ...

    def withdraw(self, box: str, key: str) -> bool:
        """Nobody is to read this letter any more; False: it was read, or is not there."""
        ...


class MemoryMail:
    """Keeps letters for as long as it lives."""

    def __init__(self) -> None:
        self._letters: list[Letter] = []
        self._keys: set[tuple[str, str]] = set()
        self._read: set[int] = set()
        self._held: set[int] = set()
        self._topics: dict[str, list[str]] = {}

    def send(self, box: str, sender: str, key: str, text: str) -> bool:
        return self._put(box, sender, key, text, "")

    def _put(self, box: str, sender: str, key: str, text: str, topic: str) -> bool:
        if (box, key) in self._keys:
            return False
        self._keys.add((box, key))
        self._letters.append(Letter(len(self._letters) + 1, box, sender, topic, key, text, time.time()))
        return True

    def publish(self, topic: str, sender: str, key: str, text: str) -> int:
        if not self._put(f"#{topic}", sender, key, text, topic):
            return 0
        return sum(self._put(box, sender, key, text, topic) for box in self._topics.get(topic, ()))

    def subscribe(self, topic: str, box: str, late: Late = "none") -> int:
        boxes = self._topics.setdefault(topic, [])
        if box in boxes:
            return 0
        boxes.append(box)
        old = [letter for letter in self._letters if letter.box == f"#{topic}"]
        given = {"none": [], "last": old[-1:], "all": old}[late]
        return sum(self._put(box, one.sender, one.key, one.text, topic) for one in given)

    def unread(self, box: str, limit: int = 100) -> list[Letter]:
        return [one for one in self._letters if one.box == box and one.id not in self._read][:limit]

    def read(self, letters: Sequence[int]) -> bool:
        """Mark letters as read, all or, where one of them was, none."""
        if self._read & set(letters):
            return False
        self._read |= set(letters)
        return True

    def take(self, box: str) -> Letter | None:
        found = next((one for one in self.unread(box) if one.id not in self._held), None)
        if found is not None:
            self._held.add(found.id)
        return found

    def finish(self, letter: Letter, reply: str) -> bool:
        return self.read([letter.id]) and self.send(letter.sender, letter.box, letter.key, reply)

    def withdraw(self, box: str, key: str) -> bool:
        found = next((one.id for one in self._letters if (one.box, one.key) == (box, key)), None)
        return found is not None and self.read([found])
