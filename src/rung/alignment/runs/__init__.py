"""One alignment from its configuration to its files."""
