"""Tasks that are climbed in an environment."""
