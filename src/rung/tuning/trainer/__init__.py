"""The loop of every method, and what it is told and keeps."""
