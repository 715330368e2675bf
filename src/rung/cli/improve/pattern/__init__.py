"""``rung pattern``: use one prompt pattern from the shell, or measure what patterns add."""
