"""Markdown: its text and metadata, and its headings."""
