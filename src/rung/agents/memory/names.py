"""Memories by name."""

MEMORIES = {
    "lessons": "rung.agents.memory.lessons:LessonMemory",
}
