"""Agreement: tallies of votes, and protocols that hold over a network that loses, repeats and reorders, with members
that crash or lie."""
