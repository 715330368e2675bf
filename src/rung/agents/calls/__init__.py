"""Calls of tools by a model that has no way of calling of its own: shortlist, choose, think, fill in, check."""
