"""What the machine gives: files and locks, arrays, the processor, packages that may be missing."""
