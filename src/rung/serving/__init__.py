"""Programs and models behind an OpenAI-compatible URL, local runs of a program, and the queue that checks both for
parity."""
