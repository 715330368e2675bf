"""Models behind other servers."""
