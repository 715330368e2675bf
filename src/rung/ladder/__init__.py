"""The ladder: climb every rung of a task, compare them with one ruler, recommend, report, export."""
