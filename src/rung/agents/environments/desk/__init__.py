"""A shop's support desk: tickets with hidden goals, judged by what was done."""
