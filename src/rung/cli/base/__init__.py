"""What verbs are made of: late groups, shared options, an open session, the reference page."""
