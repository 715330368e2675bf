"""One episode: perceive, reason, act, learn, each written down before the next."""
