"""Instructions that a program can check, made part of the answer's form."""
