"""Programs and models behind an OpenAI-compatible URL, local runs of a program, and the gate that checks both for parity."""
