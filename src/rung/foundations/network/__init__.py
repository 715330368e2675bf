"""Neural networks in numpy: every gradient is written out, and the tests compare each with finite differences and with
torch."""
