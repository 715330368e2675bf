"""From what was served to what is served next: cycles, releases, drift."""
