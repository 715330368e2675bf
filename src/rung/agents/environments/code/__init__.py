"""Writing functions: tasks with tests that nobody sees, and solutions with a planted mistake."""
