"""Types, protocols, errors, registry, settings: what every other room speaks. Standard library only."""

__version__ = "0.1.0"
