"""One file a backend; see shelf.py."""
