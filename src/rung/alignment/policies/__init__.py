"""What is improved: a language model with an adapter, or a table."""
