"""What a model is to hold to: a constitution, and the gates before a release."""
