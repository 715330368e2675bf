"""A model made smaller: fewer bits, fewer parts, fewer layers; and what it costs."""
