"""Types, protocols, errors, registry, settings: what every other room speaks. Standard library only."""
