"""Language models and embedders, one file a provider, and what goes around any of them."""
