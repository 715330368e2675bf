"""A language of the user's own: taught, enforced, parsed, interpreted."""
