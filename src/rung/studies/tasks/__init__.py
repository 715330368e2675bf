"""Studies of a task: what a part, an example or a setting of it is worth."""
