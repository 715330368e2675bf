"""Agents as programs: by file, by name, climbed, exported and served."""
