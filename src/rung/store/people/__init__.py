"""Tables of what people ask, say and are shown once a program is served."""
