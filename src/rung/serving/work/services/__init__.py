"""Several verbs kept at work together: a gateway, workers, an index, a trainer."""
