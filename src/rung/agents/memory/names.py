"""Memories by name."""

MEMORIES = {
    "lessons": "rung.agents.memory.lessons:LessonMemory",
    "facts": "rung.agents.memory.facts:FactMemory",
    "episodic": "rung.agents.memory.episodic:EpisodicMemory",
}
