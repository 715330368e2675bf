"""Agents: an episode is an append-only list of events; everything else is a view of it."""
