"""One file a backend; see names.py."""
