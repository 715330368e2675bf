"""The tiny llama of the tuning room."""

from tests.tuning.conftest import chat, conversations, rows, session, tiny

__all__ = ["chat", "conversations", "rows", "session", "tiny"]
