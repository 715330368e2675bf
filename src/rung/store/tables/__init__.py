"""One file a table, or a few that belong together."""
