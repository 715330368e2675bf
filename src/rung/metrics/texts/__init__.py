"""Free texts held against references and sources."""
